// Who a flow is between, and the head of its events.
#pragma once

#include <cstdint>
#include <memory_resource>
#include <string>
#include <string_view>

#include "dataplane/flow/flow_table.h"
#include "dataplane/inspect/context.h"

namespace sluice::inspect {

struct FlowIdentity {
  flow::FlowKey key;
  bool client_is_low = true;
  Side client_side = Side::inside;  // where the client's frames come in
  bool on_wire = true;              // false: a message without a connection (offline)
  std::uint64_t flow_id = 0;

  const Address& client() const { return client_is_low ? key.low : key.high; }
  const Address& server() const { return client_is_low ? key.high : key.low; }
  std::uint16_t client_port() const { return client_is_low ? key.low_port : key.high_port; }
  std::uint16_t server_port() const { return client_is_low ? key.high_port : key.low_port; }
};

// What a flow event says of a flow's frames.
struct Traffic {
  std::uint64_t frames[2]{};  // to the server, to the client
  std::uint64_t octets[2]{};
  std::uint64_t start = 0;  // wall clock
  std::uint64_t end = 0;
};

// Begins a record in the context's writer. `community_id` is made when it is empty.
void begin_flow_event(Context& context, const FlowIdentity& identity, contract::EventType type,
                      contract::Visibility visibility, std::pmr::string& community_id);
void put_traffic(contract::EventWriter& writer, const Traffic& traffic);
// The flow event of one that never came further than its handshake; `state` as EVE names it.
// `last`: when its last frame came, as far as that is known.
void emit_half_open(Context& context, const FlowIdentity& identity, const flow::Handshake& seen,
                    Nanoseconds last, std::string_view state, std::string_view reason);
// The snapshot of one that is still there.
void snapshot_half_open(Context& context, const FlowIdentity& identity,
                        const flow::Handshake& seen);

}  // namespace sluice::inspect
