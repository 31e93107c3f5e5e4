/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The front of a wire whose ports work with socket buffers: veth, tap, virtio without queues for
 * XDP. There a program on XDP costs more than what it decides: veth copies each frame of a TCP
 * sender, and no port with one takes large sends whole. So TC programs are on the ports:
 *
 *   port ── front_inside ─ not mail, as it came ────────────────────────────────► other port
 *                └─ all else ─► inner veth ── its other end: steer_inside and the sockets
 *   port ◄─ back_inside ◄────── inner veth
 *
 * Theory. A frame goes straight only where steer.bpf.c would say the same, by the same headers and
 * maps, and is counted there, as the frames of the line that it is. Whatever is not sure goes on to
 * steer.bpf.c, which so decides everything else alone. */
#define SLUICE_XDP_FRONT
#include "xdp/flow.bpf.h"
#include "xdp/lists.bpf.h"
#include "xdp/maps.bpf.h"
#include "xdp/packet.bpf.h"

#define TAG_SIZE 4
#define UDP_HEADER 8

/* What the socket buffer is on the line. */
struct share {
  __u32 frames;
  __u32 octets;  /* of all */
  __u32 longest; /* octets of one */
};

static __always_inline void measure(const struct __sk_buff* skb, const struct packet* packet,
                                    struct share* share) {
  __u32 tag = skb->vlan_present ? TAG_SIZE : 0;
  share->frames = 1;
  share->octets = packet->size + tag;
  share->longest = share->octets;
  __u32 part = skb->gso_size;
  if (part == 0) return;
  __u32 headers =
      packet->kind == PACKET_TCP ? packet->end - packet->payload : packet->offset + UDP_HEADER;
  if (headers >= packet->size) return;
  share->frames = (packet->size - headers + part - 1) / part;
  share->octets += (share->frames - 1) * (headers + tag);
  share->longest = headers + tag + part;
}

/* Whether an entry may say something about the packet. */
static __always_inline int is_listed(const struct packet* packet, enum mail_end mail) {
  __u32 zero = 0;
  struct steer_list_state* state = bpf_map_lookup_elem(&list_state, &zero);
  if (!state) return 1;
  __u32 live = *(volatile __u32*)&state->live;
  if (live >= STEER_LIST_GENERATIONS || state->entries[live] == 0) return 0;
  if (mail == MAIL_NONE && state->all_scope[live] == 0) return 0;
  return has_entry(packet, live);
}

static __always_inline int may_greet(struct __sk_buff* skb, const struct packet* packet) {
  __u8 text[4] = {};
  if (packet->kind != PACKET_TCP || packet->payload < sizeof(text)) return 0;
  if (bpf_skb_load_bytes(skb, packet->end - packet->payload, text, sizeof(text))) return 1;
  return text[0] == '2' && text[1] == '2' && text[2] == '0';
}

/* Whether the dataplane, or the program at an overload, sent the mail flow past it, and this is no
 * frame that it has to see: find_marks() of steer.bpf.c. */
__attribute__((noinline)) int pass_marked(const struct packet* packet, const struct share* share,
                                          __u32 side) {
  if (!packet || !share || side >= STEER_SIDES) return 0;
  if (packet->tcp_flags & (TCP_FLAG_SET_SYN | TCP_FLAG_SET_FIN | TCP_FLAG_SET_RST)) return 0;
  struct steer_flow_key key = {};
  make_key(packet, &key);
  struct steer_flow* flow = bpf_map_lookup_elem(&bypassed, &key);
  if (!flow || bpf_map_lookup_elem(&changed, &key)) return 0;
  if (flow->flags == STEER_FLOW_OVERLOAD) return 1;
  if (flow->flags != STEER_FLOW_BYPASS || flow->edge[side] ||
      is_look_due(packet, flow, bpf_ktime_get_ns()))
    return 0;
  count_passed(flow, side, share->frames, share->octets);
  return 1;
}

/* As steer.bpf.c decides; STEER_COUNT_received stands for "it shall". */
static __always_inline __u32 decide(struct __sk_buff* skb, const struct packet* packet,
                                    const struct share* share, __u32 side,
                                    const struct steer_config* settings) {
  __u32 most = settings->ports[side ^ 1].max_frame;
  if (most && share->longest > most) return STEER_COUNT_received;
  if (packet->kind == PACKET_MALFORMED || packet->kind == PACKET_TOO_DEEP ||
      packet->kind == PACKET_FRAGMENT)
    return STEER_COUNT_received;
  if (!(packet->flags & PACKET_IP)) return STEER_COUNT_not_mail;
  enum mail_end mail = find_mail(packet);
  if (is_listed(packet, mail)) return STEER_COUNT_received;
  if (packet->kind == PACKET_OTHER) return STEER_COUNT_not_mail;
  __u32 zero = 0;
  struct steer_runtime* hints = bpf_map_lookup_elem(&runtime, &zero);
  if (!hints || (hints->steered_used && is_steered(packet))) return STEER_COUNT_received;
  if (mail == MAIL_NONE)
    return may_greet(skb, packet) ? STEER_COUNT_received : STEER_COUNT_not_mail;
  if (hints->bypassed_used && !(settings->flags & STEER_OPERATOR_BYPASS) &&
      pass_marked(packet, share, side))
    return STEER_COUNT_flow_bypassed;
  return STEER_COUNT_received;
}

/* As received, and by its decision. */
static __always_inline void count_share(__u32 side, __u32 decision, const struct share* share) {
  __u32 zero = 0;
  struct steer_counters* all = bpf_map_lookup_elem(&counters, &zero);
  if (!all || decision >= STEER_COUNTER_COUNT) return;
  all->frames[side][STEER_COUNT_received] += share->frames;
  all->octets[side][STEER_COUNT_received] += share->octets;
  all->frames[side][decision] += share->frames;
  all->octets[side][decision] += share->octets;
}

static __always_inline int front(struct __sk_buff* skb, __u32 side) {
  __u32 zero = 0;
  struct packet packet;
  struct share share = {};
  __builtin_memset(&packet, 0, sizeof(packet));
  struct steer_front* ends = bpf_map_lookup_elem(&fronts, &zero);
  struct steer_config* settings = bpf_map_lookup_elem(&config, &zero);
  if (!ends || !settings) return TC_ACT_SHOT; /* an array's element 0 is always there */
  read_packet(skb, &packet);
  measure(skb, &packet, &share);
  __u32 decision = decide(skb, &packet, &share, side, settings);
  if (decision == STEER_COUNT_received) return (int)bpf_redirect(ends->inner[side], 0);
  count_share(side, decision, &share);
  return (int)bpf_redirect(ends->port[side ^ 1], 0);
}

static __always_inline int back(const struct __sk_buff* skb, __u32 side) {
  (void)skb;
  __u32 zero = 0;
  struct steer_front* ends = bpf_map_lookup_elem(&fronts, &zero);
  return ends ? (int)bpf_redirect(ends->port[side], 0) : TC_ACT_SHOT;
}

SEC("tc")
int front_inside(struct __sk_buff* skb) { return front(skb, 0); }

SEC("tc")
int front_outside(struct __sk_buff* skb) { return front(skb, 1); }

SEC("tc")
int back_inside(struct __sk_buff* skb) { return back(skb, 0); }

SEC("tc")
int back_outside(struct __sk_buff* skb) { return back(skb, 1); }

char LICENSE[] SEC("license") = "Dual BSD/GPL";
