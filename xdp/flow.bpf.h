/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the program on XDP (steer.bpf.c) and the one in front of it (front.bpf.c) ask about a packet
 * alike, and how both count. */
#ifndef SLUICE_XDP_FLOW_BPF_H
#define SLUICE_XDP_FLOW_BPF_H

#include "xdp/maps.bpf.h"
#include "xdp/packet.bpf.h"

enum mail_end { MAIL_NONE, MAIL_CLIENT_IS_SOURCE, MAIL_CLIENT_IS_DESTINATION };

static __always_inline void count(__u32 side, __u32 counter, __u32 size) {
  __u32 zero = 0;
  struct steer_counters* all = bpf_map_lookup_elem(&counters, &zero);
  if (!all || side >= STEER_SIDES || counter >= STEER_COUNTER_COUNT) return;
  all->frames[side][counter]++;
  all->octets[side][counter] += size;
}

static __always_inline int is_mail_port(__u16 port) {
  __u32 zero = 0;
  struct steer_ports* all = bpf_map_lookup_elem(&mail_ports, &zero);
  return all && all->words[port >> 6] >> (port & 63) & 1;
}

static __always_inline enum mail_end find_mail(const struct packet* packet) {
  if (!(packet->flags & PACKET_PORTS)) return MAIL_NONE;
  if (is_mail_port(packet->destination_port)) return MAIL_CLIENT_IS_SOURCE;
  if (is_mail_port(packet->source_port)) return MAIL_CLIENT_IS_DESTINATION;
  return MAIL_NONE;
}

static __always_inline int is_first_syn(const struct packet* packet) {
  return packet->kind == PACKET_TCP && (packet->tcp_flags & (TCP_FLAG_SET_SYN | TCP_FLAG_SET_ACK |
                                                             TCP_FLAG_SET_RST)) == TCP_FLAG_SET_SYN;
}

static __always_inline void make_key(const struct packet* packet, struct steer_flow_key* key) {
  int swap = 0;
  int decided = 0;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    __u32 a = bpf_ntohl(packet->source[i]);
    __u32 b = bpf_ntohl(packet->destination[i]);
    if (!decided && a != b) {
      decided = 1;
      swap = a > b;
    }
  }
  if (!decided) swap = packet->source_port > packet->destination_port;
  __builtin_memcpy(swap ? key->high : key->low, packet->source, 16);
  __builtin_memcpy(swap ? key->low : key->high, packet->destination, 16);
  key->low_port = swap ? packet->destination_port : packet->source_port;
  key->high_port = swap ? packet->source_port : packet->destination_port;
  for (int i = 0; i < MAX_TAGS; i++) key->vlan[i] = packet->vlan[i];
  key->vlan_count = packet->tags;
  key->pppoe_session = packet->pppoe_session;
  key->protocol = IPPROTO_TCP;
}

__attribute__((noinline)) int is_steered(const struct packet* packet) {
  if (!packet) return 0;
  struct steer_flow_key key = {};
  make_key(packet, &key);
  return bpf_map_lookup_elem(&steered, &key) != NULL;
}

/* Of a flow marked STEER_FLOW_BYPASS, or STEER_FLOW_MESSAGE of which none went by yet: whether this
 * frame overtakes none that waits at the dataplane. Acknowledgements it may. */
static __always_inline int is_behind_none(const struct packet* packet, struct steer_flow* flow,
                                          __u32 side, __u64 now) {
  __u64 edge = *(volatile __u64*)&flow->edge[side];
  if (edge == 0) return 1;
  if (packet->sequence != (__u32)edge && now - flow->since_ns < STEER_EDGE_WAIT_NS) return 0;
  flow->edge[side] = 0;
  return 1;
}

static __always_inline int is_look_due(const struct packet* packet, const struct steer_flow* flow,
                                       __u64 now) {
  __u64 since = now - flow->since_ns;
  return since > STEER_BYPASS_LOOK_NS && (packet->payload == 0 || since > 2 * STEER_BYPASS_LOOK_NS);
}

static __always_inline void count_passed(struct steer_flow* flow, __u32 side, __u32 frames,
                                         __u32 size) {
  __sync_fetch_and_add(&flow->frames[side], frames);
  __sync_fetch_and_add(&flow->octets[side], size);
}

#endif
