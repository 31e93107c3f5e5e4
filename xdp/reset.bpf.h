/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Turns a TCP segment into the RST that answers it (RFC 9293 3.10.7.1), in its own frame: same tags
 * and PPPoE session, MACs, addresses and ports changed round, no IP options or extension headers.
 */
#ifndef SLUICE_XDP_RESET_BPF_H
#define SLUICE_XDP_RESET_BPF_H

#include "xdp/packet.bpf.h"

#define MIN_FRAME 60 /* without the frame check sequence */
#define ANSWER_TTL 64

struct answer_v4 {
  struct iphdr ip;
  struct tcphdr tcp;
  __u8 padding[6]; /* zeros up to MIN_FRAME: no octets of the old frame leave as padding */
};
struct answer_v6 {
  struct ipv6hdr ip;
  struct tcphdr tcp;
};

/* `count` 16-bit words, at most 20, added to `sum` in the octets' own order (RFC 1071). */
static __always_inline __u32 add_words(__u32 sum, const void* from, int count) {
  const __u16* words = from;
#pragma unroll
  for (int i = 0; i < count; i++) sum += words[i];
  return sum;
}

static __always_inline __u16 fold(__u32 sum) {
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (__u16)~sum;
}

static __always_inline void fill_tcp(struct tcphdr* tcp, const struct packet* packet) {
  tcp->source = bpf_htons(packet->destination_port);
  tcp->dest = bpf_htons(packet->source_port);
  tcp->doff = 5;
  tcp->rst = 1;
  if (packet->tcp_flags & TCP_FLAG_SET_ACK) {
    /* What its sender expects next is what it acknowledges: exact, so RFC 5961 accepts it. */
    tcp->seq = bpf_htonl(packet->acknowledgement);
  } else {
    __u32 length = packet->payload + (packet->tcp_flags & TCP_FLAG_SET_SYN ? 1 : 0) +
                   (packet->tcp_flags & TCP_FLAG_SET_FIN ? 1 : 0);
    tcp->ack = 1;
    tcp->ack_seq = bpf_htonl(packet->sequence + length);
  }
}

static __always_inline __u32 sum_tcp(const struct tcphdr* tcp) {
  __u32 sum = bpf_htons(IPPROTO_TCP) + bpf_htons((__u16)sizeof(*tcp));
  return add_words(sum, tcp, sizeof(*tcp) / 2);
}

static __always_inline int write_v4(struct xdp_md* ctx, const struct packet* packet) {
  struct answer_v4 answer = {};
  answer.ip.version = 4;
  answer.ip.ihl = 5;
  answer.ip.tot_len = bpf_htons(sizeof(answer.ip) + sizeof(answer.tcp));
  answer.ip.frag_off = bpf_htons(0x4000);
  answer.ip.ttl = ANSWER_TTL;
  answer.ip.protocol = IPPROTO_TCP;
  answer.ip.saddr = packet->destination[3];
  answer.ip.daddr = packet->source[3];
  answer.ip.check = fold(add_words(0, &answer.ip, sizeof(answer.ip) / 2));
  fill_tcp(&answer.tcp, packet);
  answer.tcp.check = fold(add_words(sum_tcp(&answer.tcp), &answer.ip.saddr, 4));

  __u32 length = sizeof(answer.ip) + sizeof(answer.tcp);
  __u32 start = packet->network_offset;
  if (start + length < MIN_FRAME && packet->size >= MIN_FRAME) length = MIN_FRAME - start;
  if (length > sizeof(answer)) return -1;
  if (bpf_xdp_adjust_tail(ctx, (int)(start + length) - (int)packet->size)) return -1;
  return (int)bpf_xdp_store_bytes(ctx, start, &answer, length);
}

static __always_inline int write_v6(struct xdp_md* ctx, const struct packet* packet) {
  struct answer_v6 answer = {};
  answer.ip.version = 6;
  answer.ip.payload_len = bpf_htons(sizeof(answer.tcp));
  answer.ip.nexthdr = IPPROTO_TCP;
  answer.ip.hop_limit = ANSWER_TTL;
  __builtin_memcpy(&answer.ip.saddr, packet->destination, 16);
  __builtin_memcpy(&answer.ip.daddr, packet->source, 16);
  fill_tcp(&answer.tcp, packet);
  answer.tcp.check = fold(add_words(sum_tcp(&answer.tcp), &answer.ip.saddr, 16));

  __u32 start = packet->network_offset;
  if (bpf_xdp_adjust_tail(ctx, (int)(start + sizeof(answer)) - (int)packet->size)) return -1;
  return (int)bpf_xdp_store_bytes(ctx, start, &answer, sizeof(answer));
}

static __always_inline int turn_link_round(struct xdp_md* ctx, const struct packet* packet) {
  __u8* ethernet = octets(ctx, 0, ETH_HLEN);
  if (!ethernet) return -1;
  __u8 address[ETH_ALEN];
  __builtin_memcpy(address, ethernet, ETH_ALEN);
  __builtin_memcpy(ethernet, ethernet + ETH_ALEN, ETH_ALEN);
  __builtin_memcpy(ethernet + ETH_ALEN, address, ETH_ALEN);
  if (!packet->pppoe_offset) return 0;
  __be16* length = octets(ctx, packet->pppoe_offset + 4u, 2);
  if (!length) return -1;
  __u32 protocol_size = packet->network_offset - packet->pppoe_offset - 6u;
  __u32 ip = packet->version == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
  *length = bpf_htons((__u16)(protocol_size + ip + sizeof(struct tcphdr)));
  return 0;
}

/* Whether an answer can be built: a whole TCP segment, and a way back that its headers tell. A
 * label means something in its own direction only, and a tunnel's far end is not ours to speak for.
 */
static __always_inline int can_reset(const struct packet* packet) {
  return packet->kind == PACKET_TCP && !(packet->flags & (PACKET_MPLS | PACKET_TUNNEL));
}

/* 0 when the frame is now the answer, to be sent back out of the port it came from; else the frame
 * is spoilt. Only when can_reset(). */
__attribute__((noinline)) int write_reset(struct xdp_md* ctx, const struct packet* packet) {
  if (!packet) return -1;
  if (packet->version == 4 ? write_v4(ctx, packet) : write_v6(ctx, packet)) return -1;
  return turn_link_round(ctx, packet);
}

#endif
