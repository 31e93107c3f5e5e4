/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whether the dataplane is there. One answer for the wire, so that both directions of a flow switch
 * together: every queue's slot must be fresh and both its sockets present. A worker that hangs
 * alone takes the whole wire to the failure policy: flows may cross workers, and a half-inspected
 * conversation is worse than one that is honestly not inspected. */
#ifndef SLUICE_XDP_LIVENESS_BPF_H
#define SLUICE_XDP_LIVENESS_BPF_H

#include "xdp/maps.bpf.h"

/* How long a finding that all queues live is believed; a death is seen at most this much later on
 * the queues of the other workers, and at once on the queue of the dead one. */
#define ALIVE_RECHECK_NS 1000000

enum liveness { ALIVE, DEAD_HEARTBEAT, DEAD_SOCKET };

/* Signed: a beat written after we read the clock is fresh. One far in the future is no beat. */
static __always_inline int is_fresh(__u64 beat, __u64 now, __u64 timeout) {
  __s64 age = (__s64)(now - beat);
  return beat != 0 && age <= (__s64)timeout && -age <= (__s64)timeout;
}

static __always_inline enum liveness check_queue(__u32 queue, __u64 now, __u64 timeout) {
  struct steer_heartbeat* slot = bpf_map_lookup_elem(&heartbeats, &queue);
  if (!slot || !is_fresh(*(volatile __u64*)&slot->beat_ns, now, timeout)) return DEAD_HEARTBEAT;
  /* User space cannot read an XSKMAP; here is the only place where a missing socket shows. */
  if (!bpf_map_lookup_elem(&sockets_inside, &queue)) return DEAD_SOCKET;
  if (!bpf_map_lookup_elem(&sockets_outside, &queue)) return DEAD_SOCKET;
  return ALIVE;
}

__attribute__((noinline)) int check_wire(__u32 queues, __u64 now, __u64 timeout) {
  for (__u32 queue = 0; queue < STEER_MAX_QUEUES; queue++) {
    if (queue >= queues) break;
    enum liveness found = check_queue(queue, now, timeout);
    if (found != ALIVE) return found;
  }
  return ALIVE;
}

static __always_inline enum liveness check_liveness(const struct steer_config* settings,
                                                    struct steer_runtime* hints, __u32 queue,
                                                    __u64 now) {
  __u64 timeout = settings->heartbeat_timeout_ns;
  if (queue >= settings->queues) return DEAD_SOCKET;
  if (settings->queues == 1) return check_queue(queue, now, timeout);
  enum liveness own = check_queue(queue, now, timeout);
  if (own != ALIVE) {
    hints->alive_checked_ns = 0; /* the other queues learn it with their next frame */
    return own;
  }
  __u64 checked = *(volatile __u64*)&hints->alive_checked_ns;
  if (checked != 0 && now - checked < ALIVE_RECHECK_NS) return ALIVE;
  enum liveness found = check_wire(settings->queues, now, timeout);
  hints->alive_checked_ns = found == ALIVE ? now : 0;
  return found;
}

#endif
