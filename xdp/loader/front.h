// What front mode (xdp/front.bpf.c) needs beside XDP: for each port of the wire a pair of veths,
// and the programs at the ingress of the port and of the pair's near end. Pairs and programs stay
// when processes die, and are found again by the port's index. All calls act in the caller's
// network namespace.
#pragma once

#include <cstdint>
#include <string>

#include "dataplane/base/result.h"

namespace sluice::xdp {

// Names of the pair behind the port with that index.
std::string inner_name(std::uint32_t port);  // near end
std::string xdp_name(std::uint32_t port);    // far end, with XDP and the sockets

// Makes the pair, down and without addresses, with `queues` each way; leaves one that is so as it
// is, replaces another. Needs CAP_NET_ADMIN.
Status make_inner_pair(std::uint32_t port, std::uint32_t queues);
// Success when there is none.
void remove_inner_pair(std::uint32_t port);

// Puts `program` at the ingress of the interface, in place of ours that is there, without losing a
// frame. Returns whether the interface had no clsact before.
Result<bool> put_filter(std::uint32_t ifindex, int program);
bool has_filter(std::uint32_t ifindex);
// Takes ours away, and the clsact with it when it is `own_hook`.
void remove_filter(std::uint32_t ifindex, bool own_hook);

}  // namespace sluice::xdp
