/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The content of a message that is not read any more, up to where it may end.
 *
 * Theory. RFC 5321 4.1.1.4 ends it with a line of one dot, and servers differ in what they take for
 * a line end and which octets they ignore before the dot. So a dot behind a CR or LF, or at the
 * front of a segment, and any NUL, may belong to an end; only segments without them pass here, and
 * only in order, each beginning where the last one ended, so that there is nothing between them
 * that was not looked at. Whatever else comes is the dataplane's, which goes on from `next`. */
#ifndef SLUICE_XDP_MESSAGE_BPF_H
#define SLUICE_XDP_MESSAGE_BPF_H

#include "xdp/flow.bpf.h"

#define LOOK 64         /* octets at a time; a shorter segment is not passed */
#define MAX_LOOKED 4096 /* nor is a longer one */

#define EACH(octet) (0x0101010101010101ull * (octet))

/* In the top bits: not 0 where the octet of `v` is 0. Octets of 1 above such a one are taken for 0
 * too, never the other way round. */
static __always_inline __u64 zeros(__u64 v) { return (v - EACH(1)) & ~v; }

/* `before` are the octets that stand one place in front of `text`. */
static __always_inline int may_end_in(__u64 text, __u64 before) {
  __u64 dots = zeros(text ^ EACH('.')) & EACH(0x80);
  __u64 nuls = zeros(text) & EACH(0x80);
  if ((dots | nuls) == 0) return 0;
  return nuls != 0 || (dots & (zeros(before ^ EACH('\n')) | zeros(before ^ EACH('\r')))) != 0;
}

/* As octets(), as far as a segment may reach that is looked at. */
static __always_inline void* far_octets(struct xdp_md* ctx, __u32 offset, __u32 count) {
  void* data = (void*)(long)ctx->data;
  void* end = (void*)(long)ctx->data_end;
  if (offset > MAX_OFFSET + MAX_LOOKED) return NULL;
  asm volatile("%0 &= 8191" : "+r"(offset));
  void* at = data + offset;
  if (at + count > end) return NULL;
  return at;
}

struct look {
  struct xdp_md* ctx;
  __u32 offset; /* of the octet before the text */
  __u32 size;
  __u32 found;
};

/* The piece of LOOK octets at index * LOOK, or the last one. */
static long look_at(__u32 index, struct look* look) {
  __u32 at = index * LOOK;
  if (at > look->size - LOOK) at = look->size - LOOK;
  __u8* before = far_octets(look->ctx, look->offset + at, LOOK + 1);
  look->found = 1;
  if (!before) return 1;
#pragma unroll
  for (int i = 0; i < LOOK; i += 8)
    if (may_end_in(*(__u64*)(before + i + 1), *(__u64*)(before + i))) return 1;
  look->found = 0;
  return 0;
}

/* Whether the `size` octets at `offset` may hold (a part of) an end, or could not be read. */
static __always_inline int may_end_message(struct xdp_md* ctx, __u32 offset, __u32 size) {
  if (size < LOOK || size > MAX_LOOKED) return 1;
  __u8* first = octets(ctx, offset, 1);
  if (!first || *first == '.') return 1;
  struct look look = {.ctx = ctx, .offset = offset - 1, .size = size, .found = 1};
  bpf_loop((size + LOOK - 1) / LOOK, look_at, &look, 0);
  return look.found != 0;
}

/* Whether this frame of a flow marked STEER_FLOW_MESSAGE may go straight to the peer. */
static __always_inline int pass_message(struct xdp_md* ctx, const struct packet* packet,
                                        struct steer_flow* flow, __u32 side) {
  if (side >= STEER_SIDES || flow->flags & STEER_FLOW_MESSAGE_OVER) return 0;
  __u8 unusual = TCP_FLAG_SET_FIN | TCP_FLAG_SET_SYN | TCP_FLAG_SET_RST | TCP_FLAG_SET_URG;
  int plain = (packet->tcp_flags & unusual) == 0;
  if (plain && packet->payload == 0) {
    __u64 now = bpf_ktime_get_ns();
    if (side == flow->client_side || now - flow->since_ns <= STEER_BYPASS_LOOK_NS) return 1;
    flow->since_ns = now;
    return 0;
  }
  int begun = flow->flags & STEER_FLOW_MESSAGE_BEGUN;
  /* The dataplane may still have, or wait for, octets from before the mark; what waits there comes
   * first. */
  if (plain && begun && side == flow->client_side && (__s32)(packet->sequence - flow->start) < 0)
    return 0;
  if (plain && !begun && side == flow->client_side &&
      !is_behind_none(packet, flow, side, bpf_ktime_get_ns()))
    return 0;
  __u32 size = packet->payload;
  if (!plain || side != flow->client_side || packet->size != (__u32)(ctx->data_end - ctx->data) ||
      (begun && (__s32)(packet->sequence - flow->next) > 0) ||
      may_end_message(ctx, packet->end - size, size)) {
    flow->flags |= STEER_FLOW_MESSAGE_OVER;
    return 0;
  }
  if (!begun) flow->start = flow->next = packet->sequence;
  __u32 next = packet->sequence + size;
  if ((__s32)(next - flow->next) > 0) {
    __u8* last = far_octets(ctx, packet->end - 2, 2);
    if (!last) {
      flow->flags |= STEER_FLOW_MESSAGE_OVER;
      return 0;
    }
    flow->next = next;
    flow->last[0] = last[0];
    flow->last[1] = last[1];
  }
  flow->flags |= STEER_FLOW_MESSAGE_BEGUN;
  return 1;
}

#endif
