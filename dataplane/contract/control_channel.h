// The Unix socket between the processes (SOCK_SEQPACKET, one message a packet, descriptors by
// SCM_RIGHTS). The dataplane listens; control connects, any number of times, and either may die.
//
//   dataplane > control  Hello, with two descriptors: the statistics object, the event rings object
//                        (rings of `ring_capacity` at multiples of event_ring_bytes, rounded up to
//                        4096)
//   control > dataplane  PublishPolicy, with one descriptor: a sealed memfd of `size` octets
//   dataplane > control  PolicyAnswer
//   control > dataplane  FlowSnapshot: answered in the event rings (flow_snapshot .., snapshot_end
//                        from every worker)
//   control > dataplane  Capture: frames of one host's mail flows in the event rings
//   (capture_record.h)
//                        until a time, or until the slot is taken back
//   dataplane > control  WireState, at each change and after Hello
//
// A message of an unknown kind is answered by nothing and counted; one of a wrong size ends the
// connection.
#pragma once

#include <cstdint>

namespace sluice::contract {

inline constexpr std::uint32_t kChannelVersion = 1;
inline constexpr char kDefaultDataplaneSocket[] = "/run/sluice/dataplane.sock";

enum class ChannelKind : std::uint32_t {
  hello = 1,
  publish_policy,
  policy_answer,
  flow_snapshot,
  wire_state,
  capture,
};

struct ChannelHello {
  ChannelKind kind = ChannelKind::hello;
  std::uint32_t version = kChannelVersion;
  std::uint32_t workers = 0;
  std::uint32_t wires = 0;
  std::uint64_t ring_capacity = 0;
  std::uint64_t statistics_size = 0;
  std::uint64_t start_time = 0;  // wall clock ns
  std::uint32_t policy_epoch = 0;
  std::uint32_t process = 0;          // pid
  std::uint8_t ruleset_digest[32]{};  // of the live ruleset; zero: none
};

struct ChannelPublishPolicy {
  ChannelKind kind = ChannelKind::publish_policy;
  std::uint32_t epoch = 0;
  std::uint64_t size = 0;
};

enum class PolicyStatus : std::uint32_t { adopted, refused, needs_ruleset };

struct ChannelPolicyAnswer {
  ChannelKind kind = ChannelKind::policy_answer;
  std::uint32_t epoch = 0;
  PolicyStatus status{};
  std::uint32_t reserved = 0;
  std::uint64_t nanoseconds = 0;  // from receipt to the last worker's quiescence
  char reason[232]{};             // terminated; empty when adopted
};

struct ChannelFlowSnapshot {
  ChannelKind kind = ChannelKind::flow_snapshot;
  std::uint32_t identity = 0;  // given back in snapshot_end (Field::tx_id)
};

// Copies are made only while a ring is less than half full: events come first, and nothing waits.
inline constexpr std::uint32_t kCaptureSlots = 4;
struct ChannelCapture {
  ChannelKind kind = ChannelKind::capture;
  std::uint32_t slot = 0;      // below kCaptureSlots
  std::uint32_t identity = 0;  // given in each record; 0: the slot is free from now on
  std::uint8_t full = 0;       // 1: payloads too; 0: cut behind the TCP header
  std::uint8_t length = 128;   // of the prefix, in the 128-bit form
  std::uint8_t reserved[2]{};
  std::uint8_t prefix[16]{};  // of the host, masked
  std::uint64_t until = 0;    // CLOCK_MONOTONIC
};

struct ChannelWireState {
  ChannelKind kind = ChannelKind::wire_state;
  std::uint32_t wire = 0;
  char name[32]{};
  char inside[32]{};
  char outside[32]{};
  char driver[32]{};
  std::uint8_t inside_up = 0;
  std::uint8_t outside_up = 0;
  std::uint8_t inspecting = 0;
  std::uint8_t reserved[5]{};
};

static_assert(sizeof(ChannelHello) == 80);
static_assert(sizeof(ChannelPublishPolicy) == 16);
static_assert(sizeof(ChannelPolicyAnswer) == 256);
static_assert(sizeof(ChannelFlowSnapshot) == 8);
static_assert(sizeof(ChannelWireState) == 144);
static_assert(sizeof(ChannelCapture) == 40);

}  // namespace sluice::contract
