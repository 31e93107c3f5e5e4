/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps of a wire; keys and values stand in contract/steer.h. The loader pins all of them. */
#ifndef SLUICE_XDP_MAPS_BPF_H
#define SLUICE_XDP_MAPS_BPF_H

#include "xdp/contract/steer.h"
#include "xdp/kernel.bpf.h"

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct steer_config);
} config SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct steer_ports);
} mail_ports SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, STEER_MAX_QUEUES);
  __type(key, __u32);
  __type(value, struct steer_heartbeat);
} heartbeats SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct steer_runtime);
} runtime SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct steer_counters);
} counters SEC(".maps");

/* One for each port: a queue number means another socket on each. */
struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, STEER_MAX_QUEUES);
  __type(key, __u32);
  __type(value, __u32);
} sockets_inside SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, STEER_MAX_QUEUES);
  __type(key, __u32);
  __type(value, __u32);
} sockets_outside SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_DEVMAP);
  __uint(max_entries, STEER_SIDES);
  __type(key, __u32);
  __type(value, __u32);
} ports SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct steer_front);
} fronts SEC(".maps");

/* The inner maps' sizes here are those of an empty list; the loader makes larger ones. */
struct host_list {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 1);
  __uint(key_size, 16);
  __uint(value_size, sizeof(struct steer_list_entry));
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
  __uint(max_entries, STEER_LIST_GENERATIONS);
  __type(key, __u32);
  __array(values, struct host_list);
} host_lists SEC(".maps");

struct prefix_list {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 1);
  __uint(key_size, sizeof(struct steer_list_key));
  __uint(value_size, sizeof(struct steer_list_entry));
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
  __uint(max_entries, STEER_LIST_GENERATIONS);
  __type(key, __u32);
  __array(values, struct prefix_list);
} prefix_lists SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct steer_list_state);
} list_state SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, STEER_MAX_LIMITERS);
  __type(key, __u32);
  __type(value, struct steer_limiter);
} limiters SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, STEER_MAX_STEERED);
  __type(key, struct steer_flow_key);
  __type(value, struct steer_flow);
} steered SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, STEER_MAX_BYPASSED);
  __type(key, struct steer_flow_key);
  __type(value, struct steer_flow);
} bypassed SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, STEER_MAX_CHANGED);
  __type(key, struct steer_flow_key);
  __type(value, struct steer_flow);
} changed SEC(".maps");

#endif
