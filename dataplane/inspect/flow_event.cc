#include "dataplane/inspect/flow_event.h"

#include "dataplane/net/community_id.h"

namespace sluice::inspect {

using contract::EventType;
using contract::Field;

void begin_flow_event(Context& context, const FlowIdentity& identity, EventType type,
                      contract::Visibility visibility, std::pmr::string& community_id) {
  contract::EventHeader header;
  header.type = type;
  header.sequence = ++context.sequence;
  header.wall_time = context.now.wall;
  header.flow_id = identity.flow_id;
  header.frame_number = context.frame_number;
  header.source = identity.client();
  header.destination = identity.server();
  header.source_port = identity.client_port();
  header.destination_port = identity.server_port();
  for (std::size_t i = 0; i < 3; ++i) header.vlan[i] = identity.key.vlan(i);
  header.vlan_count = identity.key.vlan_count();
  header.protocol = identity.on_wire ? 6 : 0;
  header.wire = identity.key.wire();
  header.worker = context.settings.worker;
  header.side = static_cast<std::uint8_t>(context.side);
  const policy::Policy& policy = *context.policy;
  const bool client_inside = policy.inside(identity.client());
  const bool server_inside = policy.inside(identity.server());
  if (client_inside == server_inside)
    header.direction = client_inside                          ? contract::TrafficDirection::transit
                       : identity.client_side == Side::inside ? contract::TrafficDirection::outbound
                                                              : contract::TrafficDirection::inbound;
  else
    header.direction =
        client_inside ? contract::TrafficDirection::outbound : contract::TrafficDirection::inbound;
  header.visibility = visibility;
  header.policy_epoch = policy.epoch();
  context.writer.begin(header);
  if (!identity.on_wire) return;
  if (community_id.empty())
    community_id = net::community_id(identity.client(), identity.server(), identity.client_port(),
                                     identity.server_port(), 6)
                       .view();
  context.writer.put(Field::community_id, std::string_view(community_id));
}

void put_traffic(contract::EventWriter& writer, const Traffic& traffic) {
  writer.put_number(Field::packets_to_server, traffic.frames[0]);
  writer.put_number(Field::packets_to_client, traffic.frames[1]);
  writer.put_number(Field::bytes_to_server, traffic.octets[0]);
  writer.put_number(Field::bytes_to_client, traffic.octets[1]);
  writer.put_number(Field::flow_start, traffic.start);
  writer.put_number(Field::flow_end, traffic.end);
}

namespace {
void begin_half_open(Context& context, const FlowIdentity& identity, EventType type,
                     const flow::Handshake& seen, Nanoseconds last) {
  std::pmr::string community_id(context.memory);
  begin_flow_event(context, identity, type, contract::Visibility::clear, community_id);
  const auto wall = [&](Nanoseconds at) { return context.now.wall - (context.now.monotonic - at); };
  put_traffic(context.writer, {.frames = {seen.frames[0], seen.frames[1]},
                               .octets = {seen.octets[0], seen.octets[1]},
                               .start = wall(seen.first),
                               .end = wall(last)});
}
}  // namespace

void emit_half_open(Context& context, const FlowIdentity& identity, const flow::Handshake& seen,
                    Nanoseconds last, std::string_view state, std::string_view reason) {
  begin_half_open(context, identity, EventType::flow, seen, last);
  context.writer.put(Field::flow_state, state);
  context.writer.put(Field::flow_reason, reason);
  context.emit();
}

void snapshot_half_open(Context& context, const FlowIdentity& identity,
                        const flow::Handshake& seen) {
  begin_half_open(context, identity, EventType::flow_snapshot, seen, seen.first);
  context.writer.put(Field::flow_state, std::string_view("opening"));
  context.emit();
}

}  // namespace sluice::inspect
