/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Block and limit lists: what an entry says about a packet. */
#ifndef SLUICE_XDP_LISTS_BPF_H
#define SLUICE_XDP_LISTS_BPF_H

#include "xdp/maps.bpf.h"
#include "xdp/packet.bpf.h"

#define LIMITER_TRIES 8

enum judgement {
  JUDGE_NONE,
  JUDGE_ALLOW,
  JUDGE_DROP,
  JUDGE_RESET,
  JUDGE_CONFORMING,
  JUDGE_CONTENDED,
  JUDGE_LIMITED,
};

/* The longest entry that holds `address` in generation `live`. A host entry is longer than every
 * prefix; hosts first also keeps the slow trie small (51 ns hot, 560 ns for random keys in 100,000
 * prefixes, against 84 and 132 for the hash). */
static __always_inline struct steer_list_entry* find_entry(__u32 live, const __u32* address) {
  void* hosts = bpf_map_lookup_elem(&host_lists, &live);
  if (hosts) {
    struct steer_list_entry* entry = bpf_map_lookup_elem(hosts, address);
    if (entry) return entry;
  }
  void* prefixes = bpf_map_lookup_elem(&prefix_lists, &live);
  if (!prefixes) return NULL;
  struct steer_list_key key = {.length = 128};
  __builtin_memcpy(key.address, address, 16);
  return bpf_map_lookup_elem(prefixes, &key);
}

/* Whether an entry, whatever it says, holds an end of the packet. */
__attribute__((noinline)) int has_entry(const struct packet* packet, __u32 live) {
  if (!packet) return 0;
  __u32 address[4];
  for (int i = 0; i < 4; i++) address[i] = packet->source[i];
  if (find_entry(live, address)) return 1;
  for (int i = 0; i < 4; i++) address[i] = packet->destination[i];
  return find_entry(live, address) != NULL;
}

/* GCRA (ITU-T I.371 annex A) without a lock: a lost race is tried again with the winner's value,
 * and a packet that loses them all passes. A state that the entry's own parameters cannot reach is
 * from others, of a slower rate: the burst counts as used and the next one passes, so that nobody
 * is locked out by a rate that no longer holds. */
static __always_inline enum judgement conform(const struct steer_list_entry* entry, __u64 now) {
  __u32 index = entry->limiter;
  struct steer_limiter* limiter = bpf_map_lookup_elem(&limiters, &index);
  if (!limiter) return JUDGE_NONE;
  __u64 seen = limiter->arrival_ns;
  for (int i = 0; i < LIMITER_TRIES; i++) {
    __u64 arrival = seen;
    __u64 latest = now + entry->tolerance_ns + entry->interval_ns;
    if ((__s64)(arrival - now) < 0) arrival = now;
    if ((__s64)(arrival - latest) > 0) arrival = now + entry->tolerance_ns;
    if ((__s64)(arrival - now) > (__s64)entry->tolerance_ns) {
      __sync_fetch_and_add(&limiter->exceeding, 1);
      return JUDGE_LIMITED;
    }
    __u64 found =
        __sync_val_compare_and_swap(&limiter->arrival_ns, seen, arrival + entry->interval_ns);
    if (found == seen) {
      __sync_fetch_and_add(&limiter->conforming, 1);
      return JUDGE_CONFORMING;
    }
    seen = found;
  }
  return JUDGE_CONTENDED;
}

/* A limit counts what the host itself begins or sends, never what others send to it. */
static __always_inline int is_counted(const struct packet* packet,
                                      const struct steer_list_entry* entry, int is_source) {
  if (!is_source) return 0;
  if (entry->flags & STEER_LIMIT_PACKETS) return 1;
  return packet->kind == PACKET_TCP &&
         (packet->tcp_flags & (TCP_FLAG_SET_SYN | TCP_FLAG_SET_ACK)) == TCP_FLAG_SET_SYN;
}

/* Judges one end of the packet: its source when `is_source`. `mail`: the packet is mail of a client
 * at that end, so entries of both scopes apply; else only those of scope all. */
__attribute__((noinline)) int judge_end(const struct packet* packet, __u32 live, int is_source,
                                        int mail) {
  if (!packet) return JUDGE_NONE;
  __u32 address[4];
  for (int i = 0; i < 4; i++) address[i] = is_source ? packet->source[i] : packet->destination[i];
  struct steer_list_entry* entry = find_entry(live, address);
  if (!entry) return JUDGE_NONE;
  __u64 now = 0;
  if (entry->expires_ns || entry->action == STEER_LIMIT) now = bpf_ktime_get_ns();
  if (entry->expires_ns && (__s64)(now - entry->expires_ns) >= 0) return JUDGE_NONE;
  if (entry->action == STEER_ALLOW) return JUDGE_ALLOW;
  if (!mail && entry->scope != STEER_SCOPE_ALL) return JUDGE_NONE;
  switch (entry->action) {
    case STEER_DROP:
      return JUDGE_DROP;
    case STEER_RESET:
      return JUDGE_RESET;
    case STEER_LIMIT:
      return is_counted(packet, entry, is_source) ? conform(entry, now) : JUDGE_NONE;
    default:
      return JUDGE_NONE;
  }
}

#endif
