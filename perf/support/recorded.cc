#include "perf/support/recorded.h"

#include <cstring>
#include <map>

#include "control/cli/capture_file.h"
#include "dataplane/net/packet.h"

namespace sluice::perf {
namespace {

struct KeyOrder {
  bool operator()(const flow::FlowKey& a, const flow::FlowKey& b) const {
    return std::memcmp(&a, &b, sizeof a) < 0;
  }
};

}  // namespace

Result<Capture> load_capture(const std::string& path) {
  auto reader = control::CaptureReader::open(path);
  if (!reader) return Error{reader.error()};
  Capture capture;
  std::map<flow::FlowKey, std::uint32_t, KeyOrder> numbers;
  while (auto frame = (*reader)->next()) {
    const net::Packet packet = net::parse(frame->octets, {.verify_checksums = false});
    if (packet.kind != net::PacketKind::tcp) continue;
    const flow::FlowKey key = flow::key_of(packet, 0).key;
    const auto [at, added] =
        numbers.try_emplace(key, static_cast<std::uint32_t>(capture.flows.size()));
    if (added) capture.flows.push_back(key);
    namespace flag = net::tcp_flag;
    capture.frames.push_back(
        {.offset = capture.octets.size(),
         .size = static_cast<std::uint32_t>(frame->octets.size()),
         .flow = at->second,
         .time = frame->time,
         .side = packet.destination_port == 25 ? Side::inside : Side::outside,
         .begins_or_ends = (packet.flags & (flag::syn | flag::fin | flag::rst)) != 0});
    capture.octets.insert(capture.octets.end(), frame->octets.begin(), frame->octets.end());
  }
  if ((*reader)->truncated()) return Error{path + ": " + (*reader)->fault()};
  if (capture.frames.empty()) return Error{path + ": no TCP frame in it"};
  return capture;
}

Result<CompiledPolicy> compile_policy(const std::string& rules_file, const std::string& hash,
                                      std::size_t hosts, std::uint64_t scan_budget) {
  CompiledPolicy compiled;
  std::vector<std::filesystem::path> files;
  if (!rules_file.empty()) files.emplace_back(rules_file);
  auto rules = control::compile_rules(files);
  if (!rules) return Error{rules.error()};
  compiled.rules = *rules;
  control::PolicySpec spec;
  spec.epoch = 1;
  spec.wires = {{.name = "w1", .mode = policy::Mode::enforce}};
  spec.groups.push_back({.group = {.name = "default"}, .members = {}});
  spec.hash_attachments = hash != "none";
  spec.hash_messages = hash == "all";
  spec.scan_budget = scan_budget;
  // The generated sessions come from 10.0.0.1 on: half of the entries are theirs to find.
  for (std::size_t i = 0; i < hosts; ++i) {
    std::uint8_t address[4];
    const auto n = static_cast<std::uint32_t>(i / 2);
    store_be32(address, i % 2 == 0 ? 0x0a000000 + n : 0xac100000 + n);
    spec.hosts.push_back({.prefix = Address::from_v4(address)});
  }
  auto image = control::build_image(spec, *compiled.rules, true);
  if (!image) return Error{image.error()};
  auto policy = policy::Policy::open(*image, {});
  if (!policy) return Error{policy.error()};
  compiled.policy = *policy;
  return compiled;
}

}  // namespace sluice::perf
