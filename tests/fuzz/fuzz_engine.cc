// The whole pipeline. The input is a list of steps: frames of any octets, or segments of one mail
// conversation with a sequence number near the edge, so that the fuzzer reaches SMTP and MIME
// without learning TCP first. Holds: each frame leaves once, and no memory stays when all flows
// end.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>

#include "control/policy/rules.h"
#include "control/publish/image.h"
#include "dataplane/inspect/engine.h"
#include "tests/unit/support/packet_factory.h"

namespace {

using namespace sluice;

class Wire final : public inspect::Output, public contract::EventSink {
 public:
  void forward(inspect::Frame&, bool) override { ++left; }
  void drop(inspect::Frame&, contract::DropReason) override { ++left; }
  void inject(std::uint16_t, Side, Bytes octets) override {
    // What we write is well-formed.
    const net::Packet packet = net::parse(octets, {.verify_checksums = true});
    if (packet.kind != net::PacketKind::tcp || packet.checksum_bad) std::abort();
  }
  void mark_flow(const flow::FlowKey&, inspect::FlowMark) override {}
  bool write(Bytes record) override {
    auto reader = contract::EventReader::open(record);
    if (!reader) std::abort();
    while (reader->next()) {
    }
    return true;
  }
  std::size_t left = 0;
};

std::shared_ptr<const policy::Policy> policy_once() {
  static const auto policy = [] {
    const auto path = std::filesystem::temp_directory_path() /
                      ("fuzz-engine-" + std::to_string(::getpid()) + ".rules");
    std::ofstream(path)
        << "reject smtp any any -> any any (msg:\"a\"; content:\"SPAM\"; sid:1;)\n"
           "drop smtp any any -> any any (msg:\"b\"; file_data; content:\"DROP\"; sid:2;)\n";
    // Of each kind that SpamAssassin's reading and its matchers know (scan/regex_gate.h).
    const std::filesystem::path spam = path.string() + ".cf";
    std::ofstream(spam)
        << "body LONG /\\b(?:[a-z]{6,}[\\s\\.]+){3}/\n"
           "body FORM /(?:(?:your\\s)?(?:name|address|phone|age)[\\s:._]{1,20}){3}/i\n"
           "body OBFU /\\bv[_\\W]{0,3}[i1!|l][_\\W]{0,3}[a4@][_\\W]{0,3}gra\\b/i\n"
           "body COUNT /[A-Z]{2,}\\s/\ntflags COUNT multiple maxhits=5\n"
           "rawbody RAW /^\\s*(?:[a-z]+\\s+){4}\\.$/m\n"
           "full FULL /offer.{0,40}now/s\n"
           "uri HOST m{^https?://(?:[^/?#]{1,64}\\.){2,}}i\n"
           "header SUBJECT Subject =~ /(?:free|win)\\W+(?:money|prize)/i\n"
           "header RELAYS X-Spam-Relays-External =~ /^[^\\]]+ helo=\\S+ by=\\S* /\n"
           "header SHAPE ALL =~ /^(?:[a-z]{4,}-[a-z]{3,}):\\s+\\d[\\da-f]*\\s*$/ism\n"
           "mimeheader NAME Content-Type =~ /name=\"?[^\"]{1,60}\\.(?:exe|scr)/i\n"
           "meta SUM LONG + FORM + OBFU + COUNT > 2\nmeta BOTH HOST && !RELAYS\n";
    const auto rules = control::compile_rules({path, spam});
    std::filesystem::remove(path);
    std::filesystem::remove(spam);
    control::PolicySpec spec;
    spec.epoch = 1;
    spec.wires = {{.name = "w1", .mode = policy::Mode::enforce}};
    spec.groups.push_back({.group = {.name = "default"}, .members = {}});
    const auto image = rules ? control::build_image(spec, **rules, true) : Error{rules.error()};
    auto opened = image ? policy::Policy::open(*image, {}) : Error{image.error()};
    if (!opened) std::abort();
    return *opened;
  }();
  return policy;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Wire wire;
  static const auto statistics = std::make_unique<contract::WorkerStatistics>();
  inspect::Settings settings;
  settings.wires = {"w1"};
  settings.max_flows = 64;
  settings.max_memory = 8u << 20;
  settings.all_ports = true;
  inspect::Engine engine(settings, *statistics, wire, wire, std::pmr::new_delete_resource());
  if (!engine.set_policy(*policy_once())) std::abort();

  test::Conversation talk;
  talk.open();
  Nanoseconds now = kSecond;
  std::size_t sent = 0;
  const auto send = [&](Side side, test::Frame octets) {
    inspect::Frame frame{.octets = octets, .side = side, .number = ++sent};
    engine.process({&frame, 1}, {.monotonic = now, .wall = now});
    if (wire.left != sent) std::abort();
  };
  for (const auto& s : talk.take()) send(s.side, s.frame);

  while (size >= 3) {
    const std::uint8_t kind = data[0];
    const std::size_t length =
        std::min<std::size_t>(std::size_t{data[1]} | (data[2] & 7u) << 8, size - 3);
    const std::string_view octets(reinterpret_cast<const char*>(data + 3), length);
    const auto direction = kind & 1 ? Direction::to_client : Direction::to_server;
    now += Nanoseconds{1} << (data[2] >> 3 & 31);
    switch (kind >> 1 & 7) {
      case 0:
        send(kind & 1 ? Side::outside : Side::inside, test::Frame(octets.begin(), octets.end()));
        break;
      case 1:  // ahead or behind
        talk.inject(direction, talk.next(direction) + kind / 16u * 7u - 21u, octets,
                    kind & 64 ? 0x18 : 0x10);
        break;
      case 2:
        talk.inject(direction, talk.next(direction), octets, static_cast<std::uint8_t>(kind >> 4));
        break;
      case 3:
        engine.tick({.monotonic = now, .wall = now});
        break;
      default:
        talk.say(direction, octets);
        break;
    }
    for (const auto& s : talk.take()) send(s.side, s.frame);
    data += 3 + length;
    size -= 3 + length;
  }
  engine.finish({.monotonic = now, .wall = now});
  if (engine.flows() != 0) std::abort();
  return 0;
}
