/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Header cursor: what a frame is, one header a step, down to TCP.
 *
 * Theory. `struct packet` holds the offset of the next header and what kind it is; read_header()
 * takes one header and moves on. It is a global function, so that the verifier checks it once for
 * every possible packet, and the loop over it costs the verifier nothing however deep the
 * encapsulations go. The cursor keeps offsets, not pointers: they stay true when the frame is
 * resized and need no tracking by the verifier.
 *
 * Nothing here drops: what cannot be read has a kind that the caller forwards. */
#ifndef SLUICE_XDP_PACKET_BPF_H
#define SLUICE_XDP_PACKET_BPF_H

#include "xdp/kernel.bpf.h"

/* What holds the frame: XDP's context, or a socket buffer's (front.bpf.c). */
#ifdef SLUICE_XDP_FRONT
#define FRAME struct __sk_buff
#else
#define FRAME struct xdp_md
#endif

#define MAX_TAGS 3
#define MAX_LABELS 8
#define MAX_TUNNELS 3
#define MAX_EXTENSIONS 16
/* Ethernet, tags, labels, PPPoE, then for each of the tunnels an IP header and its encapsulation,
 * and the extension headers: more than all caps together allow, so that the caps decide. */
#define MAX_HEADERS 48
/* Headers are looked for in the first octets only: bounds every offset for the verifier. */
#define MAX_OFFSET 1024

/* Outer tags of before 802.1ad. */
#define ETHERTYPE_QINQ1 0x9100
#define ETHERTYPE_QINQ2 0x9200
#define ETHERTYPE_QINQ3 0x9300
#define ETHERTYPE_TEB 0x6558 /* transparent Ethernet bridging, in GRE */

enum next_header {
  NEXT_ETHERNET,
  NEXT_TYPE, /* decided by packet.type, an EtherType; nothing at the offset belongs to it */
  NEXT_MPLS,
  NEXT_PROTOCOL, /* decided by packet.protocol, an IP protocol */
};

enum packet_kind {
  PACKET_OTHER, /* not TCP that could be read */
  PACKET_TCP,
  PACKET_FRAGMENT, /* of a datagram that is, or may be, TCP */
  PACKET_MALFORMED,
  PACKET_TOO_DEEP,
};

enum packet_flags {
  PACKET_IP = 1u << 0, /* source and destination are known */
  PACKET_MPLS = 1u << 1,
  PACKET_TUNNEL = 1u << 2, /* they are those of an inner packet */
  PACKET_FIRST = 1u << 3,  /* fragment: the first of its datagram */
  PACKET_PORTS = 1u << 4,  /* source_port and destination_port are known */
};

struct packet {
  __u32 size;   /* octets of the frame */
  __u32 offset; /* of the next header */
  __u32 end;    /* where the innermost IP packet ends */
  __u32 next;   /* enum next_header */
  __u32 kind;   /* enum packet_kind */
  __u32 flags;  /* enum packet_flags */
  __u16 type;
  __u16 network_offset; /* of the innermost IP header */
  __u16 pppoe_offset;
  __u16 pppoe_session;
  __u16 vlan[MAX_TAGS];
  __u8 tags;
  __u8 labels;
  __u8 tunnels;
  __u8 extensions;
  __u8 version; /* of the innermost IP header */
  __u8 protocol;
  __u16 source_port;
  __u16 destination_port;
  __u8 tcp_flags;
  __u8 reserved[3];
  __u32 sequence;
  __u32 acknowledgement;
  __u32 payload;   /* octets of TCP payload */
  __u32 source[4]; /* network order, IPv4 mapped */
  __u32 destination[4];
};

#define TCP_FLAG_SET_FIN 0x01
#define TCP_FLAG_SET_SYN 0x02
#define TCP_FLAG_SET_RST 0x04
#define TCP_FLAG_SET_ACK 0x10
#define TCP_FLAG_SET_URG 0x20

/* The `count` octets at `offset`, or NULL when the frame's first buffer does not hold them. */
static __always_inline void* octets(FRAME* ctx, __u32 offset, __u32 count) {
  void* data = (void*)(long)ctx->data;
  void* end = (void*)(long)ctx->data_end;
  if (offset > MAX_OFFSET) return NULL;
  /* The compiler may test one register and add another; the mask bounds the one that is added. */
  asm volatile("%0 &= 2047" : "+r"(offset));
  void* at = data + offset;
  if (at + count > end) return NULL;
  return at;
}

/* Steps return 1 when the packet's kind is decided, 0 to go on. */
static __always_inline int finish(struct packet* packet, enum packet_kind kind) {
  packet->kind = kind;
  return 1;
}

static __always_inline int proceed(struct packet* packet, __u32 size, enum next_header next) {
  packet->offset += size;
  packet->next = next;
  return 0;
}

static __always_inline int read_ethernet(FRAME* ctx, struct packet* packet) {
  struct ethhdr* header = octets(ctx, packet->offset, sizeof(*header));
  if (!header) return finish(packet, PACKET_MALFORMED);
  packet->type = bpf_ntohs(header->h_proto);
  return proceed(packet, sizeof(*header), NEXT_TYPE);
}

static __always_inline int read_tag(FRAME* ctx, struct packet* packet) {
  __be16* tag = octets(ctx, packet->offset, 4);
  if (!tag) return finish(packet, PACKET_MALFORMED);
  __u32 index = packet->tags;
  if (index >= MAX_TAGS) return finish(packet, PACKET_TOO_DEEP);
  packet->vlan[index] = bpf_ntohs(tag[0]) & 0x0fff;
  packet->tags = (__u8)(index + 1);
  packet->type = bpf_ntohs(tag[1]);
  return proceed(packet, 4, NEXT_TYPE);
}

/* RFC 3032. What follows the last label is told only by its first four bits (RFC 4928). */
static __always_inline int read_label(FRAME* ctx, struct packet* packet) {
  __u8* label = octets(ctx, packet->offset, 5);
  if (!label) return finish(packet, PACKET_MALFORMED);
  if (packet->labels >= MAX_LABELS) return finish(packet, PACKET_TOO_DEEP);
  packet->labels++;
  packet->flags |= PACKET_MPLS;
  if (!(label[2] & 1)) return proceed(packet, 4, NEXT_MPLS);
  __u8 first = label[4] >> 4;
  if (first != 4 && first != 6) return finish(packet, PACKET_OTHER);
  packet->type = first == 4 ? ETH_P_IP : ETH_P_IPV6;
  return proceed(packet, 4, NEXT_TYPE);
}

/* RFC 2516 session frames; the PPP protocol field has one octet when compressed (RFC 1661 6.5). */
static __always_inline int read_pppoe(FRAME* ctx, struct packet* packet) {
  __u8* header = octets(ctx, packet->offset, 8);
  if (!header) return finish(packet, PACKET_MALFORMED);
  if (header[0] != 0x11 || header[1] != 0) return finish(packet, PACKET_OTHER);
  packet->pppoe_offset = (__u16)packet->offset;
  packet->pppoe_session = (__u16)(header[2] << 8 | header[3]);
  __u32 size = 8;
  __u16 protocol = (__u16)(header[6] << 8 | header[7]);
  if (header[6] & 1) {
    protocol = header[6];
    size = 7;
  }
  if (protocol == 0x0021)
    packet->type = ETH_P_IP;
  else if (protocol == 0x0057)
    packet->type = ETH_P_IPV6;
  else
    return finish(packet, PACKET_OTHER);
  return proceed(packet, size, NEXT_TYPE);
}

/* An IP length of zero, or beyond the frame, means the frame's own (case C21; large sends). */
static __always_inline void set_end(struct packet* packet, __u32 length) {
  __u32 left = packet->size - packet->offset;
  packet->end = packet->offset + (length == 0 || length > left ? left : length);
}

static __always_inline int read_ports(FRAME* ctx, struct packet* packet, __u32 offset) {
  __be16* ports = octets(ctx, offset, 4);
  if (!ports || offset + 4 > packet->end) return 0;
  packet->source_port = bpf_ntohs(ports[0]);
  packet->destination_port = bpf_ntohs(ports[1]);
  packet->flags |= PACKET_PORTS;
  return 1;
}

static __always_inline int read_ipv4(FRAME* ctx, struct packet* packet) {
  struct iphdr* header = octets(ctx, packet->offset, sizeof(*header));
  if (!header || header->version != 4 || header->ihl < 5) return finish(packet, PACKET_MALFORMED);
  __u32 size = header->ihl * 4;
  __u32 length = bpf_ntohs(header->tot_len);
  if (length != 0 && length < size) return finish(packet, PACKET_MALFORMED);
  set_end(packet, length);
  packet->network_offset = (__u16)packet->offset;
  packet->version = 4;
  packet->protocol = header->protocol;
  packet->source[0] = packet->source[1] = 0;
  packet->source[2] = bpf_htonl(0xffff);
  packet->source[3] = header->saddr;
  packet->destination[0] = packet->destination[1] = 0;
  packet->destination[2] = bpf_htonl(0xffff);
  packet->destination[3] = header->daddr;
  packet->flags |= PACKET_IP;
  __u16 fragment = bpf_ntohs(header->frag_off);
  if (fragment & 0x3fff) { /* MF, or an offset */
    if (header->protocol != IPPROTO_TCP) return finish(packet, PACKET_OTHER);
    if ((fragment & 0x1fff) == 0) {
      packet->flags |= PACKET_FIRST;
      read_ports(ctx, packet, packet->offset + size);
    }
    return finish(packet, PACKET_FRAGMENT);
  }
  return proceed(packet, size, NEXT_PROTOCOL);
}

static __always_inline int read_ipv6(FRAME* ctx, struct packet* packet) {
  struct ipv6hdr* header = octets(ctx, packet->offset, sizeof(*header));
  if (!header || header->version != 6) return finish(packet, PACKET_MALFORMED);
  __u32 length = bpf_ntohs(header->payload_len);
  set_end(packet, length == 0 ? 0 : length + (__u32)sizeof(*header));
  packet->network_offset = (__u16)packet->offset;
  packet->version = 6;
  packet->protocol = header->nexthdr;
  for (int i = 0; i < 4; i++) {
    packet->source[i] = header->saddr.in6_u.u6_addr32[i];
    packet->destination[i] = header->daddr.in6_u.u6_addr32[i];
  }
  packet->flags |= PACKET_IP;
  return proceed(packet, sizeof(*header), NEXT_PROTOCOL);
}

static __always_inline int is_extension(__u8 protocol) {
  return protocol == 0 /* hop-by-hop */ || protocol == 43 /* routing */ ||
         protocol == 60 /* destination options */ || protocol == 135 /* mobility */ ||
         protocol == 139 /* HIP */ || protocol == 140 /* shim6 */;
}

/* RFC 8200 4. AH (RFC 4302) counts in other units and may stand under IPv4 too. */
static __always_inline int read_extension(FRAME* ctx, struct packet* packet) {
  __u8* header = octets(ctx, packet->offset, 8);
  if (!header) return finish(packet, PACKET_MALFORMED);
  if (packet->extensions >= MAX_EXTENSIONS) return finish(packet, PACKET_TOO_DEEP);
  packet->extensions++;
  __u32 size = packet->protocol == IPPROTO_AH ? (header[1] + 2u) * 4 : (header[1] + 1u) * 8;
  packet->protocol = header[0];
  return proceed(packet, size, NEXT_PROTOCOL);
}

/* RFC 8200 4.5; a fragment that is the whole datagram is none (RFC 6946). Behind the header of a
 * fragment the chain may go on out of our sight, so an extension there counts as TCP. */
static __always_inline int read_fragment(FRAME* ctx, struct packet* packet) {
  __u8* header = octets(ctx, packet->offset, 8);
  if (!header) return finish(packet, PACKET_MALFORMED);
  if (packet->extensions >= MAX_EXTENSIONS) return finish(packet, PACKET_TOO_DEEP);
  packet->extensions++;
  __u16 fragment = (__u16)(header[2] << 8 | header[3]);
  packet->protocol = header[0];
  if ((fragment & 0xfff9) == 0) return proceed(packet, 8, NEXT_PROTOCOL);
  if (packet->protocol != IPPROTO_TCP && packet->protocol != IPPROTO_AH &&
      !is_extension(packet->protocol))
    return finish(packet, PACKET_OTHER);
  if ((fragment & 0xfff8) == 0) {
    packet->flags |= PACKET_FIRST;
    if (packet->protocol == IPPROTO_TCP) read_ports(ctx, packet, packet->offset + 8);
  }
  return finish(packet, PACKET_FRAGMENT);
}

static __always_inline int enter_tunnel(struct packet* packet) {
  if (packet->tunnels >= MAX_TUNNELS) return 0;
  packet->tunnels++;
  packet->flags |= PACKET_TUNNEL;
  return 1;
}

/* RFC 2784 and 2890; version 1 (PPTP) and source routes are not followed. */
static __always_inline int read_gre(FRAME* ctx, struct packet* packet) {
  __be16* header = octets(ctx, packet->offset, 4);
  if (!header) return finish(packet, PACKET_MALFORMED);
  __u16 flags = bpf_ntohs(header[0]);
  if (flags & 0x4007) return finish(packet, PACKET_OTHER);
  if (!enter_tunnel(packet)) return finish(packet, PACKET_TOO_DEEP);
  __u32 size = 4 + (flags & 0x8000 ? 4 : 0) + (flags & 0x2000 ? 4 : 0) + (flags & 0x1000 ? 4 : 0);
  packet->type = bpf_ntohs(header[1]);
  return proceed(packet, size, packet->type == ETHERTYPE_TEB ? NEXT_ETHERNET : NEXT_TYPE);
}

static __always_inline int read_tcp(FRAME* ctx, struct packet* packet) {
  struct tcphdr* header = octets(ctx, packet->offset, sizeof(*header));
  if (!header) return finish(packet, PACKET_MALFORMED);
  __u32 size = header->doff * 4;
  if (size < sizeof(*header) || packet->offset + size > packet->end)
    return finish(packet, PACKET_MALFORMED);
  packet->source_port = bpf_ntohs(header->source);
  packet->destination_port = bpf_ntohs(header->dest);
  packet->tcp_flags = ((__u8*)header)[13];
  packet->sequence = bpf_ntohl(header->seq);
  packet->acknowledgement = bpf_ntohl(header->ack_seq);
  packet->payload = packet->end - packet->offset - size;
  packet->flags |= PACKET_PORTS;
  return finish(packet, PACKET_TCP);
}

static __always_inline int read_type(FRAME* ctx, struct packet* packet) {
  switch (packet->type) {
    case ETH_P_IP:
      return read_ipv4(ctx, packet);
    case ETH_P_IPV6:
      return read_ipv6(ctx, packet);
    case ETH_P_8021Q:
    case ETH_P_8021AD:
    case ETHERTYPE_QINQ1:
    case ETHERTYPE_QINQ2:
    case ETHERTYPE_QINQ3:
      return read_tag(ctx, packet);
    case ETH_P_MPLS_UC:
    case ETH_P_MPLS_MC:
      return read_label(ctx, packet);
    case ETH_P_PPP_SES:
      return read_pppoe(ctx, packet);
    default:
      return finish(packet, PACKET_OTHER);
  }
}

static __always_inline int read_protocol(FRAME* ctx, struct packet* packet) {
  if (packet->protocol == IPPROTO_TCP) return read_tcp(ctx, packet);
  if (packet->protocol == IPPROTO_IPIP || packet->protocol == IPPROTO_IPV6) {
    if (!enter_tunnel(packet)) return finish(packet, PACKET_TOO_DEEP);
    packet->type = packet->protocol == IPPROTO_IPIP ? ETH_P_IP : ETH_P_IPV6;
    return proceed(packet, 0, NEXT_TYPE);
  }
  if (packet->protocol == IPPROTO_GRE) return read_gre(ctx, packet);
  if (packet->protocol == IPPROTO_AH) return read_extension(ctx, packet);
  if (packet->version == 6) {
    if (packet->protocol == IPPROTO_FRAGMENT) return read_fragment(ctx, packet);
    if (is_extension(packet->protocol)) return read_extension(ctx, packet);
  }
  return finish(packet, PACKET_OTHER);
}

/* Takes the header at packet->offset. Global: verified once, for every packet. */
__attribute__((noinline)) int read_header(FRAME* ctx, struct packet* packet) {
  if (!packet) return 1;
  if (packet->offset > MAX_OFFSET) return finish(packet, PACKET_TOO_DEEP);
  if (packet->offset > packet->size) return finish(packet, PACKET_MALFORMED);
  switch (packet->next) {
    case NEXT_ETHERNET:
      return read_ethernet(ctx, packet);
    case NEXT_TYPE:
      return read_type(ctx, packet);
    case NEXT_MPLS:
      return read_label(ctx, packet);
    case NEXT_PROTOCOL:
      return read_protocol(ctx, packet);
    default:
      return finish(packet, PACKET_OTHER);
  }
}

/* The headers that most frames have, without a call for each. Returns as a step does. */
static __always_inline int read_plain(FRAME* ctx, struct packet* packet) {
  if (read_ethernet(ctx, packet)) return 1;
  if (packet->type == ETH_P_IP) {
    if (read_ipv4(ctx, packet)) return 1;
  } else if (packet->type == ETH_P_IPV6) {
    if (read_ipv6(ctx, packet)) return 1;
  } else {
    return 0;
  }
  return packet->protocol == IPPROTO_TCP ? read_tcp(ctx, packet) : 0;
}

/* Fills `packet` (zeroed by the caller). Whether the length of the frame or that of the packet ends
 * a header makes no difference: either way it is malformed. */
static __always_inline void read_packet(FRAME* ctx, struct packet* packet) {
#ifdef SLUICE_XDP_FRONT
  packet->size = ctx->len;
  if (ctx->vlan_present) { /* the kernel has taken the outermost tag out */
    packet->vlan[0] = ctx->vlan_tci & 0x0fff;
    packet->tags = 1;
  }
#else
  packet->size = (__u32)bpf_xdp_get_buff_len(ctx);
#endif
  packet->kind = PACKET_TOO_DEEP;
  if (read_plain(ctx, packet)) return;
  for (int i = 0; i < MAX_HEADERS; i++)
    if (read_header(ctx, packet)) return;
}

#endif
