/* What the XDP program (xdp/steer.bpf.c) and user space share: map names, keys, values, counters,
 * flags and the layout version. One header for both sides, C11 and C++20; every size is asserted.
 *
 * Each wire has a set of maps of its own, pinned at <bpffs>/sluice/v<STEER_LAYOUT>/<wire>/<map>.
 * A change of any size, offset or meaning here needs a new STEER_LAYOUT: versions then live side by
 * side during an upgrade instead of reading each other's maps wrongly.
 *
 * Side 0 is the inside port, side 1 the outside port (sluice::Side). Addresses are 16 octets in
 * network order, IPv4 in the IPv4-mapped form (sluice::Address). Ports are in host order. Times are
 * nanoseconds of CLOCK_MONOTONIC, as bpf_ktime_get_ns() reads it. */
#ifndef SLUICE_XDP_CONTRACT_STEER_H
#define SLUICE_XDP_CONTRACT_STEER_H

#include <linux/types.h>

#ifdef __cplusplus
#define STEER_ASSERT(condition, text) static_assert(condition, text)
#else
#define STEER_ASSERT(condition, text) _Static_assert(condition, text)
#endif

#define STEER_LAYOUT 4

#define STEER_SIDES 2
#define STEER_MAX_QUEUES 64       /* queue pairs of a wire, heartbeat slots, sockets of a port */
#define STEER_MAX_LIMITERS 65536  /* limiter states of a wire */
#define STEER_MAX_STEERED 65536   /* flows on other ports steered to the dataplane (LRU) */
#define STEER_MAX_BYPASSED 131072 /* flows sent past the dataplane (LRU) */
#define STEER_MAX_CHANGED 32768   /* flows whose sequence space was changed (LRU) */
#define STEER_LIST_GENERATIONS 2  /* one live, one being built */
#define STEER_MAX_NAME 32         /* a wire's or interface's name with its terminating zero */
#define STEER_PERMILLE 1000
#define STEER_HOSTS 256 /* hashes of subscribers, see steer_host() */

/* ---- counters ----
 * One per decision, per side and CPU, frames and octets.
 *
 *   X(identifier, "name", class, "description")
 *
 * class: total  every frame that came in
 *        peer   sent straight to the peer port; name is the reason
 *        socket handed to the dataplane
 *        answer turned into a RST to its sender (the frame itself goes no further)
 *        drop   not forwarded; name is the `reason` label of the metric
 *        note   something worth knowing about a frame that is also counted in another class
 * Every frame is counted once in `received` and once in exactly one of peer, socket, answer, drop.
 */
// clang-format off
#define STEER_COUNTERS(X) \
  X(received,            "received",             total,  "frames that came in from the port") \
  X(not_mail,            "not-mail",             peer,   "not mail") \
  X(malformed,           "malformed",            peer,   "a header is cut short or contradicts itself; forwarded as it came") \
  X(too_deep,            "too-deep",             peer,   "more tags, labels, tunnels or extension headers than are followed") \
  X(flow_bypassed,       "flow-bypassed",        peer,   "of a mail flow that the dataplane sent past itself") \
  X(message_passed,      "message-passed",       peer,   "of a message past its scan budget, with no line in it that may end it") \
  X(operator_bypass,     "operator-bypass",      peer,   "mail, while an operator has the wire in bypass") \
  X(open_heartbeat,      "open-heartbeat",       peer,   "mail, dataplane heartbeat too old, fail-open") \
  X(open_socket,         "open-socket",          peer,   "mail, no dataplane socket on the queue, fail-open") \
  X(overload_new,        "overload-new",         peer,   "first segment of a mail flow while the rings are above the watermark, or much of its subscriber waits") \
  X(multi_buffer,        "multi-buffer",         peer,   "mail in a frame of several buffers, which no socket takes whole") \
  X(mail_to_socket,      "mail-to-socket",       socket, "mail segments handed to the dataplane") \
  X(fragment_to_socket,  "fragment-to-socket",   socket, "fragments of TCP handed to the dataplane") \
  X(steered_to_socket,   "steered-to-socket",    socket, "segments of steered flows handed to the dataplane") \
  X(greeting_to_socket,  "greeting-to-socket",   socket, "greetings as of a mail server on another port, handed to the dataplane with all that follows") \
  X(listed_reset,        "listed-reset",         answer, "reset: the host is listed so") \
  X(changed_reset,       "changed-reset",        answer, "reset: the flow's sequence space was changed and the dataplane is not there") \
  X(listed_drop,         "listed-drop",          drop,   "of a blocked host") \
  X(limited,             "limited",              drop,   "of a host past its limit") \
  X(closed_heartbeat,    "closed-heartbeat",     drop,   "mail, dataplane heartbeat too old, fail-closed") \
  X(closed_socket,       "closed-socket",        drop,   "mail, no dataplane socket on the queue, fail-closed") \
  X(closed_overload,     "closed-overload",      drop,   "new mail flow at such a time, fail-closed") \
  X(rst_unanswered,      "rst-unanswered",       drop,   "a RST that itself would have been answered with a RST") \
  X(reset_impossible,    "reset-impossible",     drop,   "to be reset, but in an encapsulation in which no answer can be built") \
  X(no_peer,             "no-peer",              drop,   "the peer port is not there") \
  X(listed_allow,        "listed-allow",         note,   "let past the lists by an allow entry") \
  X(limit_conforming,    "limit-conforming",     note,   "counted by a limit and within it") \
  X(limiter_contended,   "limiter-contended",    note,   "let past a limit after losing every race for its state") \
  X(oversize,            "oversize",             note,   "longer than the peer port's MTU lets the kernel send")
// clang-format on

enum steer_counter {
#define X(id, name, class_, text) STEER_COUNT_##id,
  STEER_COUNTERS(X)
#undef X
      STEER_COUNTER_COUNT
};

struct steer_counters { /* map "counters": per-CPU array, one element */
  __u64 frames[STEER_SIDES][STEER_COUNTER_COUNT];
  __u64 octets[STEER_SIDES][STEER_COUNTER_COUNT];
};
STEER_ASSERT(sizeof(struct steer_counters) <= 32768, "a per-CPU value fits one allocation unit");

/* ---- map "config": array, one element. The program reads the first part; the rest is the
 * loader's memory of what it found, so that any later process can adopt, mirror or undo. ---- */
enum steer_config_flags {
  STEER_FAIL_CLOSED = 1u << 0,     /* mail is dropped, not bypassed, when the dataplane is away */
  STEER_OPERATOR_BYPASS = 1u << 1, /* all mail straight to the peer, the lists still hold */
  STEER_MIRROR_LINK = 1u << 2,     /* loader: a port without carrier takes the other one down */
  STEER_MULTI_BUFFER = 1u << 3,    /* loader: program loaded with BPF_F_XDP_HAS_FRAGS */
};

enum steer_port_flags {
  STEER_PORT_SAVED = 1u << 0, /* the saved_* fields hold the state before we came */
  STEER_PORT_WAS_PROMISC = 1u << 1,
  STEER_PORT_WAS_UP = 1u << 2,
  STEER_PORT_WAS_NOARP = 1u << 3,
  STEER_PORT_HAD_IPV6 = 1u << 4,
  STEER_PORT_MIRRORED_DOWN = 1u << 5, /* we took it down because the other lost its carrier */
  STEER_PORT_GENERIC = 1u << 6,       /* attached in generic mode */
};

struct steer_port {
  __u32 ifindex;
  __u32 max_frame; /* octets of the longest frame that the kernel lets this port send */
  __u32 flags;     /* steer_port_flags */
  __u32 saved_mtu;
  char name[STEER_MAX_NAME];
};
STEER_ASSERT(sizeof(struct steer_port) == 48, "steer_port");

struct steer_config {
  __u32 layout;
  __u32 flags;                /* steer_config_flags */
  __u64 heartbeat_timeout_ns; /* a slot older than this is dead */
  __u32 queues;               /* 1..STEER_MAX_QUEUES queue pairs, one heartbeat slot each */
  __u32 watermark;            /* permille of a ring; 0: no watermark */
  __u32 line_mtu;             /* octets of IP; tags do not count against it */
  __u32 raised_s; /* loader: CLOCK_MONOTONIC second at which mirroring last brought a port up */
  struct steer_port ports[STEER_SIDES];
  char wire[STEER_MAX_NAME];
};
STEER_ASSERT(sizeof(struct steer_config) == 160, "steer_config");

/* ---- map "fronts": array, one element: the interfaces of a wire in front mode (front.bpf.c), by
 * index. Zeros elsewhere; an older loader's wire has no such map. ---- */
struct steer_front {
  __u32 port[STEER_SIDES];     /* the wire's port, on which the front is */
  __u32 inner[STEER_SIDES];    /* the near end of the veth behind it */
  __u32 xdp[STEER_SIDES];      /* its far end, with the program on XDP and the sockets */
  __u32 own_hook[STEER_SIDES]; /* 1: the port had no clsact before */
};
STEER_ASSERT(sizeof(struct steer_front) == 32, "steer_front");

/* ---- map "mail_ports": array, one element: a bit for each TCP port ---- */
struct steer_ports {
  __u64 words[1024]; /* port p: bit p % 64 of word p / 64 */
};
STEER_ASSERT(sizeof(struct steer_ports) == 8192, "steer_ports");

/* ---- map "heartbeats": mmapable array of STEER_MAX_QUEUES, slot q written by the worker that
 * serves queue q of both ports ---- */
struct steer_heartbeat {
  __u64 beat_ns;   /* when the worker last came round; 0: never, or stopped on purpose */
  __u32 occupancy; /* of its fullest ring, permille */
  __u32 reserved;
  /* Subscribers of whom much waits at the worker: a bit for each steer_host() of their addresses.
   * Zeros, as a worker that knows nothing of it leaves them, say nobody. */
  __u64 crowd_key;
  __u64 crowd[STEER_HOSTS / 64];
  __u64 pad[1];
};
STEER_ASSERT(sizeof(struct steer_heartbeat) == 64, "one cache line a slot");

/* Which of STEER_HOSTS an inside host is; of IPv6 its /64 counts. Keyed, so that nobody outside can
 * choose whom he shares it with (finalizer of MurmurHash3). */
static inline __u32 steer_host(__u64 key, const __u32 address[4]) {
  __u64 host = (__u64)address[0] << 32 | address[1];
  if (host == 0) host = address[3]; /* IPv4 */
  host = (host ^ key) * 0xff51afd7ed558ccdull;
  host = (host ^ host >> 33) * 0xc4ceb9fe1a85ec53ull;
  return (__u32)((host ^ host >> 33) >> 56);
}

/* ---- map "runtime": mmapable array, one element: hints that save lookups, written by the program
 * and the loader ---- */
struct steer_runtime {
  __u64 alive_checked_ns; /* program: when all slots and sockets were last found alive */
  __u32 steered_used;     /* not 0: look into "steered" */
  __u32 bypassed_used;    /* not 0: look into "bypassed" */
  __u64 pad[6];
};
STEER_ASSERT(sizeof(struct steer_runtime) == 64, "steer_runtime");

/* ---- lists ----
 * Two generations; `list_state.live` names the one that frames are judged by, so that hosts and
 * prefixes change together. "host_lists" holds a hash of full-length addresses for each generation,
 * "prefix_lists" a longest-prefix trie of all others. A host entry is longer than any prefix and
 * wins. */
enum steer_action {
  STEER_ALLOW = 0, /* not acted on, whatever a shorter prefix says */
  STEER_DROP = 1,
  STEER_RESET = 2, /* a RST to whoever sends; drop what cannot be reset */
  STEER_LIMIT = 3,
};
enum steer_scope {
  STEER_SCOPE_MAIL = 0, /* TCP on mail ports */
  STEER_SCOPE_ALL = 1,  /* every IP packet from or to the address */
};
enum steer_entry_flags {
  STEER_LIMIT_PACKETS = 1u << 0, /* the limit counts packets from the host, not its SYNs */
};

struct steer_list_key { /* trie key; its `address` alone is the key of the host hash */
  __u32 length;         /* bits of the 128-bit form: an IPv4 /24 is 120 */
  __u8 address[16];
};
STEER_ASSERT(sizeof(struct steer_list_key) == 20, "steer_list_key");

struct steer_list_entry {
  __u8 action; /* steer_action */
  __u8 scope;  /* steer_scope */
  __u8 flags;  /* steer_entry_flags */
  __u8 reserved;
  __u32 limiter;      /* index of its state in "limiters" */
  __u64 interval_ns;  /* limit: time between two at the sustained rate, not 0 */
  __u64 tolerance_ns; /* limit: (burst - 1) * interval_ns */
  __u64 expires_ns;   /* the entry is void from then on; 0: never */
};
STEER_ASSERT(sizeof(struct steer_list_entry) == 32, "steer_list_entry");

struct steer_list_state {                  /* map "list_state": mmapable array, one element */
  __u32 live;                              /* generation 0 or 1 */
  __u32 entries[STEER_LIST_GENERATIONS];   /* 0: no lookup at all */
  __u32 all_scope[STEER_LIST_GENERATIONS]; /* entries of scope all; 0: mail alone is looked up */
  __u32 reserved;
};
STEER_ASSERT(sizeof(struct steer_list_state) == 24, "steer_list_state");

/* ---- map "limiters": mmapable array of STEER_MAX_LIMITERS. GCRA (ITU-T I.371 annex A). The first
 * part is the program's alone; list updates never write it (but a newly given index starts at
 * zero). The owner is the loader's: whose index it is survives both processes here. ---- */
struct steer_limiter {
  __u64 arrival_ns; /* theoretical arrival time of the next */
  __u64 conforming;
  __u64 exceeding;
  __u32 used; /* 1: given to the prefix `owner` */
  struct {
    __u32 length;
    __u8 address[16];
  } owner;
  __u64 pad[2];
};
STEER_ASSERT(sizeof(struct steer_limiter) == 64, "one cache line a limiter");

/* ---- flows ----
 * Order-free: both directions of a connection have the same key. The `low` end is the one whose
 * address octets, then port, compare lower. */
struct steer_flow_key {
  __u8 low[16];
  __u8 high[16];
  __u16 low_port;
  __u16 high_port;
  __u16 vlan[3]; /* VLAN identifiers (12 bits), outermost first */
  __u16 pppoe_session;
  __u16 reserved;
  __u8 vlan_count;
  __u8 protocol; /* 6 */
};
STEER_ASSERT(sizeof(struct steer_flow_key) == 48, "steer_flow_key");

/* Values of "steered" (a flow on any port goes to the dataplane), "bypassed" and "changed". */
enum steer_flow_flags {
  STEER_FLOW_BYPASS = 1u << 0, /* bypassed: straight to the peer, but for what ends or begins it */
  /* bypassed: in a message that is not read any more. What the client says goes straight to the
   * peer up to the first segment that may end the message; that one, and all that come then, go to
   * the dataplane (..._OVER). So does anything else that it has to see. */
  STEER_FLOW_MESSAGE = 1u << 1,
  STEER_FLOW_OVERLOAD = 1u << 2, /* bypassed by the program itself at its SYN */
  STEER_FLOW_MESSAGE_OVER = 1u << 3,
  STEER_FLOW_MESSAGE_BEGUN = 1u << 4, /* `start`, `next` and `last` are set */
};
struct steer_flow {
  __u32 flags;
  /* The sequence numbers [start, next) went straight to the peer, in order. */
  __u32 start;
  __u64 since_ns; /* when it was marked; bypassed: when a frame of it last went to the dataplane */
  /* bypassed: what went straight to the peer, by the side on which it came in */
  __u64 frames[STEER_SIDES];
  __u64 octets[STEER_SIDES];
  __u32 next;
  __u8 last[2];     /* the octets before `next` */
  __u8 client_side; /* of the message */
  __u8 reserved;
  /* STEER_FLOW_BYPASS, and STEER_FLOW_MESSAGE on the client's side: STEER_EDGE and the sequence
   * number up to which the dataplane has sent what came in on this side. Nothing goes past it
   * before the segment that begins there: then nothing waits in front of that. 0: nothing is waited
   * for. */
  __u64 edge[STEER_SIDES];
};
STEER_ASSERT(sizeof(struct steer_flow) == 72, "steer_flow");

#define STEER_EDGE (1ull << 32)
/* So long after the mark no edge is waited for: frames of the flow may wait all the time. */
#define STEER_EDGE_WAIT_NS 1000000000ull

/* A frame of a bypassed flow goes to the dataplane this often, so that it knows that the flow
 * lives: an acknowledgement, which others may overtake, or after twice the time any. */
#define STEER_BYPASS_LOOK_NS 60000000000ull

#endif
