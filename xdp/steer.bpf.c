/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The wire in the kernel. One program for each port: everything that is not mail goes straight to
 * the peer port; mail and TCP fragments go to the dataplane's socket of the queue; the lists are
 * enforced; when the dataplane is away or swamped, mail takes the wire's failure policy.
 *
 * Theory. Each function makes one decision and returns it as the counter that stands for it;
 * carry_out() alone touches the frame. A frame that is not understood is forwarded: on a wire a
 * dropped frame is an outage, so a drop needs a reason of its own. */
#include "xdp/flow.bpf.h"
#include "xdp/lists.bpf.h"
#include "xdp/liveness.bpf.h"
#include "xdp/maps.bpf.h"
#include "xdp/message.bpf.h"
#include "xdp/packet.bpf.h"
#include "xdp/reset.bpf.h"

/* ---- lists ---- */

/* STEER_COUNT_received stands for "no list says anything": it is no decision. */
static __always_inline __u32 apply_judgement(const struct packet* packet, __u32 side, int found) {
  switch (found) {
    case JUDGE_ALLOW:
      count(side, STEER_COUNT_listed_allow, packet->size);
      break;
    case JUDGE_CONFORMING:
      count(side, STEER_COUNT_limit_conforming, packet->size);
      break;
    case JUDGE_CONTENDED:
      count(side, STEER_COUNT_limiter_contended, packet->size);
      break;
    case JUDGE_DROP:
      return STEER_COUNT_listed_drop;
    case JUDGE_LIMITED:
      return STEER_COUNT_limited;
    case JUDGE_RESET:
      return STEER_COUNT_listed_reset;
    default:
      break;
  }
  return STEER_COUNT_received;
}

/* Mail is judged by its client, so that both directions of a listed host's mail meet the same
 * entry. Only entries of scope all make other packets, and the other end, worth a lookup. */
static __always_inline __u32 consult_lists(const struct packet* packet, __u32 side,
                                           enum mail_end mail) {
  __u32 zero = 0;
  struct steer_list_state* state = bpf_map_lookup_elem(&list_state, &zero);
  if (!state) return STEER_COUNT_received;
  __u32 live = *(volatile __u32*)&state->live;
  if (live >= STEER_LIST_GENERATIONS || state->entries[live] == 0) return STEER_COUNT_received;
  __u32 all_scope = state->all_scope[live];
  if (mail == MAIL_NONE && all_scope == 0) return STEER_COUNT_received;
  int first_is_source = mail != MAIL_CLIENT_IS_DESTINATION;
  __u32 decision =
      apply_judgement(packet, side, judge_end(packet, live, first_is_source, mail != MAIL_NONE));
  if (decision != STEER_COUNT_received || all_scope == 0) return decision;
  return apply_judgement(packet, side, judge_end(packet, live, !first_is_source, 0));
}

/* ---- flows ---- */

/* The marks that the dataplane, or we at an overload, gave this flow. A SYN begins another one;
 * what was counted of the last stays until the dataplane has read it. A flow that the dataplane
 * sent past itself shows it its end, and now and then a frame. */
__attribute__((noinline)) int find_marks(struct xdp_md* ctx, const struct packet* packet,
                                         __u32 side) {
  if (!packet || side >= STEER_SIDES) return 0;
  struct steer_flow_key key = {};
  make_key(packet, &key);
  struct steer_flow* flow = bpf_map_lookup_elem(&bypassed, &key);
  if (!flow) return 0;
  if (is_first_syn(packet)) {
    if (flow->flags & (STEER_FLOW_BYPASS | STEER_FLOW_MESSAGE))
      flow->flags = 0;
    else
      bpf_map_delete_elem(&bypassed, &key);
    return 0;
  }
  if (flow->flags & STEER_FLOW_MESSAGE) {
    if (!pass_message(ctx, packet, flow, side)) return 0;
    count_passed(flow, side, 1, packet->size);
    return STEER_FLOW_MESSAGE;
  }
  if (!(flow->flags & STEER_FLOW_BYPASS)) return (int)flow->flags;
  __u64 now = bpf_ktime_get_ns();
  if ((packet->tcp_flags & (TCP_FLAG_SET_FIN | TCP_FLAG_SET_RST)) ||
      is_look_due(packet, flow, now)) {
    flow->since_ns = now;
    return 0;
  }
  if (!is_behind_none(packet, flow, side, now)) return 0;
  count_passed(flow, side, 1, packet->size);
  return STEER_FLOW_BYPASS;
}

/* The flow on a port that is not mail's goes to the dataplane, both ways, until that says that it
 * is none. */
__attribute__((noinline)) int mark_steered(const struct packet* packet, __u64 now) {
  if (!packet) return 0;
  struct steer_flow_key key = {};
  make_key(packet, &key);
  struct steer_flow flow = {.since_ns = now};
  return (int)bpf_map_update_elem(&steered, &key, &flow, BPF_ANY);
}

/* RFC 5321 4.2: a server greets with 220. FTP's does too, which the dataplane tells apart. */
static __always_inline int greets(struct xdp_md* ctx, const struct packet* packet) {
  if (packet->kind != PACKET_TCP || packet->payload < 4) return 0;
  __u8* text = octets(ctx, packet->end - packet->payload, 4);
  return text && text[0] == '2' && text[1] == '2' && text[2] == '0' &&
         (text[3] == ' ' || text[3] == '-');
}

/* The whole flow must go the way its SYN goes, or the dataplane picks it up in the middle. */
__attribute__((noinline)) int mark_overload(const struct packet* packet, __u64 now) {
  if (!packet) return 0;
  struct steer_flow_key key = {};
  make_key(packet, &key);
  struct steer_flow flow = {.flags = STEER_FLOW_OVERLOAD, .since_ns = now};
  return (int)bpf_map_update_elem(&bypassed, &key, &flow, BPF_ANY);
}

/* Whether this flow would hang on the bare wire because the ends no longer count alike. */
__attribute__((noinline)) int is_sequence_changed(const struct packet* packet) {
  if (!packet) return 0;
  struct steer_flow_key key = {};
  make_key(packet, &key);
  if (is_first_syn(packet)) {
    bpf_map_delete_elem(&changed, &key);
    return 0;
  }
  return bpf_map_lookup_elem(&changed, &key) != NULL;
}

/* ---- mail ---- */

/* Mail goes past the dataplane for the reason `decision`. */
static __always_inline __u32 pass_by(const struct packet* packet, __u32 decision) {
  if (packet->kind == PACKET_TCP && is_sequence_changed(packet)) return STEER_COUNT_changed_reset;
  return decision;
}

/* Fail-closed must stop mail but no other connection's fragments. Every reassembly needs a first
 * fragment, so stopping those that show a mail port, or hide their ports, stops all mail. */
static __always_inline int may_pass_closed(const struct packet* packet, enum mail_end mail) {
  if (packet->kind != PACKET_FRAGMENT) return 0;
  if (!(packet->flags & PACKET_FIRST)) return 1;
  return (packet->flags & PACKET_PORTS) && mail == MAIL_NONE;
}

static __always_inline __u32 fail(const struct packet* packet, const struct steer_config* settings,
                                  enum mail_end mail, enum liveness found) {
  int heartbeat = found == DEAD_HEARTBEAT;
  if ((settings->flags & STEER_FAIL_CLOSED) && !may_pass_closed(packet, mail))
    return heartbeat ? STEER_COUNT_closed_heartbeat : STEER_COUNT_closed_socket;
  return pass_by(packet, heartbeat ? STEER_COUNT_open_heartbeat : STEER_COUNT_open_socket);
}

static __always_inline __u32 name_socket(const struct packet* packet, enum mail_end mail) {
  if (packet->kind == PACKET_FRAGMENT) return STEER_COUNT_fragment_to_socket;
  return mail == MAIL_NONE ? STEER_COUNT_steered_to_socket : STEER_COUNT_mail_to_socket;
}

/* Whether the subscriber, whose address is the inner one of `packet`, is among those of whom much
 * waits at the worker. (It goes by the outermost address; of tunnels it knows the end.) */
static __always_inline int is_crowd(const struct steer_heartbeat* slot, const struct packet* packet,
                                    __u32 side) {
  __u32 host = steer_host(slot->crowd_key, side == 0 ? packet->source : packet->destination);
  return slot->crowd[host / 64 % (STEER_HOSTS / 64)] >> (host % 64) & 1;
}

/* A full socket ring drops in the kernel and has no fallback, so near its end new flows are kept
 * away from it; those of a subscriber who takes more than his share even before. */
static __always_inline __u32 relieve(const struct packet* packet,
                                     const struct steer_config* settings, __u32 side, __u32 queue,
                                     __u64 now, __u32 decision) {
  struct steer_heartbeat* slot = bpf_map_lookup_elem(&heartbeats, &queue);
  if (!slot || settings->watermark == 0 || !is_first_syn(packet)) return decision;
  if (*(volatile __u32*)&slot->occupancy < settings->watermark && !is_crowd(slot, packet, side))
    return decision;
  if (settings->flags & STEER_FAIL_CLOSED) return STEER_COUNT_closed_overload;
  mark_overload(packet, now);
  return STEER_COUNT_overload_new;
}

static __always_inline __u32 divert(struct xdp_md* ctx, const struct packet* packet, __u32 side,
                                    const struct steer_config* settings, enum mail_end mail) {
  __u32 zero = 0;
  __u32 queue = ctx->rx_queue_index;
  struct steer_runtime* hints = bpf_map_lookup_elem(&runtime, &zero);
  if (!hints) return STEER_COUNT_not_mail;
  if (settings->flags & STEER_OPERATOR_BYPASS) return pass_by(packet, STEER_COUNT_operator_bypass);
  int marks = 0;
  if (hints->bypassed_used && packet->kind == PACKET_TCP) marks = find_marks(ctx, packet, side);
  if (marks & STEER_FLOW_MESSAGE) return pass_by(packet, STEER_COUNT_message_passed);
  if (marks & (STEER_FLOW_BYPASS | STEER_FLOW_OVERLOAD))
    return pass_by(packet, STEER_COUNT_flow_bypassed);
  if (packet->size != (__u32)(ctx->data_end - ctx->data))
    return pass_by(packet, STEER_COUNT_multi_buffer);
  __u64 now = bpf_ktime_get_ns();
  enum liveness found = check_liveness(settings, hints, queue, now);
  if (found != ALIVE) return fail(packet, settings, mail, found);
  __u32 decision = relieve(packet, settings, side, queue, now, name_socket(packet, mail));
  if (decision == STEER_COUNT_overload_new) hints->bypassed_used = 1;
  return decision;
}

/* A flow that may be mail by what its server says. Without a dataplane it is as any other, whatever
 * the failure policy: most that greet so are not mail. */
static __always_inline __u32 begin_steering(struct xdp_md* ctx, const struct packet* packet,
                                            const struct steer_config* settings,
                                            struct steer_runtime* hints) {
  __u64 now = bpf_ktime_get_ns();
  if ((settings->flags & STEER_OPERATOR_BYPASS) ||
      packet->size != (__u32)(ctx->data_end - ctx->data) ||
      check_liveness(settings, hints, ctx->rx_queue_index, now) != ALIVE)
    return STEER_COUNT_not_mail;
  mark_steered(packet, now);
  hints->steered_used = 1;
  return STEER_COUNT_greeting_to_socket;
}

/* ---- every frame ---- */

static __always_inline __u32 decide(struct xdp_md* ctx, struct packet* packet, __u32 side,
                                    const struct steer_config* settings) {
  read_packet(ctx, packet);
  if (packet->kind == PACKET_MALFORMED) return STEER_COUNT_malformed;
  if (packet->kind == PACKET_TOO_DEEP) return STEER_COUNT_too_deep;
  if (!(packet->flags & PACKET_IP)) return STEER_COUNT_not_mail;
  enum mail_end mail = find_mail(packet);
  __u32 listed = consult_lists(packet, side, mail);
  if (listed != STEER_COUNT_received) return listed;
  if (packet->kind == PACKET_OTHER) return STEER_COUNT_not_mail;
  if (packet->kind == PACKET_FRAGMENT || mail != MAIL_NONE)
    return divert(ctx, packet, side, settings, mail);
  __u32 zero = 0;
  struct steer_runtime* hints = bpf_map_lookup_elem(&runtime, &zero);
  if (!hints) return STEER_COUNT_not_mail;
  if (hints->steered_used && is_steered(packet)) return divert(ctx, packet, side, settings, mail);
  if (greets(ctx, packet)) return begin_steering(ctx, packet, settings, hints);
  return STEER_COUNT_not_mail;
}

static __always_inline int drop(const struct packet* packet, __u32 side, __u32 reason) {
  count(side, reason, packet->size);
  return XDP_DROP;
}

static __always_inline int to_peer(const struct packet* packet, __u32 side, __u32 reason,
                                   const struct steer_config* settings) {
  __u32 peer = side ^ 1;
  /* Told, not dropped: the kernel decides, and our copy of the MTU may be old. */
  if (settings->ports[peer].max_frame && packet->size > settings->ports[peer].max_frame)
    count(side, STEER_COUNT_oversize, packet->size);
  if (bpf_redirect_map(&ports, peer, XDP_DROP) != XDP_REDIRECT)
    return drop(packet, side, STEER_COUNT_no_peer);
  count(side, reason, packet->size);
  return XDP_REDIRECT;
}

static __always_inline int to_socket(struct xdp_md* ctx, const struct packet* packet, __u32 side,
                                     __u32 reason, const struct steer_config* settings) {
  __u32 queue = ctx->rx_queue_index;
  long action = side == 0 ? bpf_redirect_map(&sockets_inside, queue, XDP_DROP)
                          : bpf_redirect_map(&sockets_outside, queue, XDP_DROP);
  if (action != XDP_REDIRECT) { /* closed since we looked */
    if (settings->flags & STEER_FAIL_CLOSED) return drop(packet, side, STEER_COUNT_closed_socket);
    return to_peer(packet, side, STEER_COUNT_open_socket, settings);
  }
  count(side, reason, packet->size);
  return XDP_REDIRECT;
}

static __always_inline int answer(struct xdp_md* ctx, const struct packet* packet, __u32 side,
                                  __u32 reason) {
  if (!can_reset(packet)) return drop(packet, side, STEER_COUNT_reset_impossible);
  if (packet->tcp_flags & TCP_FLAG_SET_RST) return drop(packet, side, STEER_COUNT_rst_unanswered);
  if (write_reset(ctx, packet)) return drop(packet, side, STEER_COUNT_reset_impossible);
  count(side, reason, packet->size);
  /* By the redirect, not XDP_TX: veth puts an XDP_TX frame into the ring of a far end that has NAPI
   * but no program, and wakes nobody, so it lies there until other traffic comes. */
  return bpf_redirect_map(&ports, side, XDP_TX);
}

static __always_inline int carry_out(struct xdp_md* ctx, const struct packet* packet, __u32 side,
                                     __u32 decision, const struct steer_config* settings) {
  switch (decision) {
    case STEER_COUNT_mail_to_socket:
    case STEER_COUNT_fragment_to_socket:
    case STEER_COUNT_steered_to_socket:
    case STEER_COUNT_greeting_to_socket:
      return to_socket(ctx, packet, side, decision, settings);
    case STEER_COUNT_listed_reset:
    case STEER_COUNT_changed_reset:
      return answer(ctx, packet, side, decision);
    case STEER_COUNT_listed_drop:
    case STEER_COUNT_limited:
    case STEER_COUNT_closed_heartbeat:
    case STEER_COUNT_closed_socket:
    case STEER_COUNT_closed_overload:
      return drop(packet, side, decision);
    default:
      return to_peer(packet, side, decision, settings);
  }
}

static __always_inline int steer(struct xdp_md* ctx, __u32 side) {
  __u32 zero = 0;
  struct packet packet;
  __builtin_memset(&packet, 0, sizeof(packet));
  struct steer_config* settings = bpf_map_lookup_elem(&config, &zero);
  if (!settings) return XDP_ABORTED; /* an array's element 0 is always there */
  __u32 decision = decide(ctx, &packet, side, settings);
  count(side, STEER_COUNT_received, packet.size);
  return carry_out(ctx, &packet, side, decision, settings);
}

SEC("xdp")
int steer_inside(struct xdp_md* ctx) { return steer(ctx, 0); }

SEC("xdp")
int steer_outside(struct xdp_md* ctx) { return steer(ctx, 1); }

char LICENSE[] SEC("license") = "Dual BSD/GPL";
