// The whole pipeline on one conversation, sent in two forms: as it was said, and cut, shuffled,
// doubled, in fragments and on another road. The first octet chooses the form, the second the
// seed of the cuts; the rest is the dialogue, as in fuzz_smtp: FE and FF begin a turn of the client
// and of the server. Holds: both forms give the same events (the event's time and frame apart), a
// message that is blocked in one form is blocked in the other, and the server never gets more of
// the client's stream than was said.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "control/policy/rules.h"
#include "control/publish/image.h"
#include "dataplane/inspect/engine.h"
#include "tests/unit/support/packet_factory.h"

namespace {

using namespace sluice;
using contract::EventType;
using contract::Field;

#define REQUIRE(condition)                                                 \
  do {                                                                     \
    if (!(condition)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                        \
    }                                                                      \
  } while (false)

constexpr std::uint8_t kEnforce = 1;     // else monitor: nothing is stopped
constexpr std::uint8_t kReorder = 2;     // the second form
constexpr std::uint8_t kDuplicate = 4;   // the second form
constexpr std::uint8_t kOtherRoad = 8;   // the second form: IPv6, VLAN, MPLS or PPPoE
constexpr std::uint8_t kMidstream = 16;  // both forms: no handshake is seen
constexpr std::uint8_t kFragments = 32;  // the second form
constexpr std::uint8_t kOtherPort = 64;  // both forms: the dialogue must be recognised

// What one form said, in an order that does not depend on when things became known.
struct Told {
  std::vector<std::string> ordered;    // smtp, tls
  std::vector<std::string> unordered;  // alerts, anomalies, files
  bool operator==(const Told&) const = default;

  void print(const char* name) const {
    std::fprintf(stderr, "--- %s\n", name);
    for (const auto& line : ordered) std::fprintf(stderr, "%s\n", line.c_str());
    for (const auto& line : unordered) std::fprintf(stderr, "%s\n", line.c_str());
  }
};

class Wire final : public inspect::Output, public contract::EventSink {
 public:
  void forward(inspect::Frame& frame, bool) override {
    ++left;
    if (frame.side != Side::inside) return;
    const net::Packet packet = net::parse(frame.octets, {.verify_checksums = true});
    if (packet.kind != net::PacketKind::tcp || packet.payload_size == 0) return;
    passed = std::max(passed, static_cast<std::int32_t>(packet.sequence - first) +
                                  static_cast<std::int32_t>(packet.payload_size));
  }
  void drop(inspect::Frame&, contract::DropReason) override { ++left; }
  void inject(std::uint16_t, Side, Bytes octets) override {
    const net::Packet packet = net::parse(octets, {.verify_checksums = true});
    REQUIRE(packet.kind == net::PacketKind::tcp && !packet.checksum_bad);
  }
  void mark_flow(const flow::FlowKey&, inspect::FlowMark) override {}
  bool write(Bytes record) override {
    auto reader = contract::EventReader::open(record);
    REQUIRE(reader);
    const contract::EventHeader& header = reader->header();
    std::string line = std::to_string(static_cast<int>(header.type)) + '/' +
                       std::to_string(header.flags) + '/' +
                       std::to_string(static_cast<int>(header.visibility));
    while (const auto item = reader->next()) {
      if (item->field == Field::community_id) continue;  // the other road's addresses
      line += ' ' + std::to_string(static_cast<int>(item->field)) + '=';
      for (const std::uint8_t c : item->value)
        if (c > 0x20 && c < 0x7f)
          line += static_cast<char>(c);
        else
          line += '\\' + std::to_string(c) + ';';
    }
    switch (header.type) {
      case EventType::smtp:
      case EventType::tls:
        told.ordered.push_back(std::move(line));
        break;
      case EventType::alert:
      case EventType::anomaly:
      case EventType::fileinfo:  // two readings of one message find them side by side
        told.unordered.push_back(std::move(line));
        break;
      default:  // flow, drop: they count segments
        break;
    }
    return true;
  }
  std::size_t left = 0;
  std::uint32_t first = 0;  // sequence number of the client's first octet
  std::int32_t passed = 0;  // octets of the client's stream that left the wire
  Told told;
};

std::shared_ptr<const policy::Policy> policy_for(policy::Mode mode) {
  static std::map<policy::Mode, std::shared_ptr<const policy::Policy>> made;
  auto& policy = made[mode];
  if (policy) return policy;
  const auto path = std::filesystem::temp_directory_path() /
                    ("fuzz-streams-" + std::to_string(::getpid()) + ".rules");
  std::ofstream(path)
      << "reject smtp any any -> any any (msg:\"a\"; content:\"SPAM\"; sid:1;)\n"
         "drop smtp any any -> any any (msg:\"b\"; file_data; content:\"DROP\"; sid:2;)\n"
         "alert smtp any any -> any any (msg:\"c\"; content:\"one\"; content:\"two\"; distance:1; "
         "within:20; sid:3;)\n"
         "alert smtp any any -> any any (msg:\"d\"; file_data; content:\"t\"; content:\"e\"; "
         "distance:-3; sid:4;)\n"
         "alert smtp any any -> any any (msg:\"e\"; email.subject; content:\"su\"; startswith; "
         "sid:5;)\n"
         "alert smtp any any -> any any (msg:\"f\"; smtp.rcpt_to; content:\"b@b\"; sid:6;)\n"
         "alert smtp any any -> any any (msg:\"g\"; email.url; content:\"a.test\"; sid:7;)\n"
         "alert smtp any any -> any any (msg:\"h\"; file_data; content:!\"absent\"; sid:8;)\n";
  const auto rules = control::compile_rules({path});
  std::filesystem::remove(path);
  REQUIRE(rules);
  control::PolicySpec spec;
  spec.epoch = 1;
  spec.hash_messages = true;
  spec.wires = {{.name = "w1", .mode = mode}};
  spec.groups.push_back({.group = {.name = "default"}, .members = {}});
  const auto image = control::build_image(spec, **rules, true);
  REQUIRE(image);
  const auto opened = policy::Policy::open(*image, {});
  REQUIRE(opened);
  return policy = *opened;
}

Told play(Bytes dialogue, std::uint8_t choice, std::uint8_t cut, bool plain) {
  test::ConversationOptions options;
  // In the middle of a stream on another port, mail is told by one segment alone: not by its cuts.
  const bool other_port = (choice & kOtherPort) && !(choice & kMidstream);
  options.path.server.port = other_port ? 2500 : 25;
  if (!plain) {
    options.segment_size = cut % 4 == 0 ? 1 : 1 + cut * std::size_t{3};
    // The place of a stream picked up in the middle is where its first segment stands.
    options.reorder = (choice & kReorder) && !(choice & kMidstream);
    options.duplicate = choice & kDuplicate;
    options.seed = cut;
    if (choice & kFragments) options.fragment_size = 24;
    if (choice & kOtherRoad) {
      switch (cut % 4) {
        case 0: {
          const std::uint16_t port = options.path.server.port;
          options.path = test::path_v6();
          options.path.server.port = port;
          break;
        }
        case 1:
          options.path.encapsulation.tags = {{.vid = 5, .tpid = 0x88a8}, {.vid = 6}};
          break;
        case 2:
          options.path.encapsulation.mpls = {100, 200};
          break;
        case 3:
          options.path.encapsulation.pppoe = 9;
          break;
      }
    }
  }
  Wire wire;
  static const auto statistics = std::make_unique<contract::WorkerStatistics>();
  inspect::Settings settings;
  settings.wires = {"w1"};
  settings.max_flows = 64;
  settings.all_ports = true;
  inspect::Engine engine(settings, *statistics, wire, wire, std::pmr::new_delete_resource());
  if (!engine.set_policy(
          *policy_for(choice & kEnforce ? policy::Mode::enforce : policy::Mode::monitor)))
    std::abort();

  test::Conversation talk(options);
  wire.first = talk.sequence_of(Direction::to_server, 0);
  if (choice & kMidstream)
    talk.open_silently();
  else
    talk.open();
  std::size_t said = 0;
  Nanoseconds now = 0;
  std::size_t sent = 0;
  const auto send = [&] {
    for (const auto& s : talk.take()) {
      test::Frame octets = s.frame;
      inspect::Frame frame{.octets = octets, .side = s.side, .number = ++sent};
      now = std::max(now, s.time);
      engine.process({&frame, 1}, {.monotonic = now, .wall = now});
      REQUIRE(wire.left == sent);
    }
  };
  bool client = true;
  for (std::size_t at = 0; at < dialogue.size();) {
    const auto begin = dialogue.begin() + static_cast<std::ptrdiff_t>(at);
    const auto end = std::find_if(begin, dialogue.end(), [](std::uint8_t c) { return c >= 0xfe; });
    const auto size = static_cast<std::size_t>(end - begin);
    if (size > 0) {
      talk.say(client ? Direction::to_server : Direction::to_client,
               as_text(dialogue.subspan(at, size)));
      if (client) said += size;
      send();
    }
    at += size;
    if (at < dialogue.size()) client = dialogue[at++] == 0xfe;
  }
  talk.close();
  send();
  engine.finish({.monotonic = now, .wall = now});
  REQUIRE(engine.flows() == 0);
  REQUIRE(wire.passed <= static_cast<std::int32_t>(said));
  std::sort(wire.told.unordered.begin(), wire.told.unordered.end());
  return wire.told;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2 || size > 20'000) return 0;
  const Bytes dialogue(data + 2, size - 2);
  const Told whole = play(dialogue, data[0], data[1], true);
  const Told cut = play(dialogue, data[0], data[1], false);
  if (whole != cut) {
    whole.print("as said");
    cut.print("cut");
  }
  REQUIRE(whole == cut);
  return 0;
}
