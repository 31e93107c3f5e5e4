// What scanning costs: compiles rule files, scans the messages of a capture of client segments
// (shared/perf/gen_smtp_pcap.py) as streams, segment by segment, with base64 parts decoded, and
// looks up random addresses in a million host rules.
//
//   scan_bench CAPTURE RULES...
#include <openssl/evp.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iterator>
#include <map>
#include <memory_resource>
#include <random>
#include <string>
#include <vector>

#include "control/policy/rules.h"
#include "dataplane/policy/prefix_map.h"
#include "dataplane/scan/ruleset.h"

namespace {

using sluice::as_bytes;
using sluice::scan::Buffer;

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

struct Message {
  std::vector<std::string> segments;
  std::vector<std::string> decoded;  // pieces as a MIME parser would give them
};

// Payloads towards port 25 of a classic little-endian Ethernet capture, in order, by client.
std::vector<Message> read_capture(const char* path) {
  std::ifstream in(path, std::ios::binary);
  const std::string file{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  std::map<std::string, Message> flows;
  std::size_t at = 24;
  while (at + 16 <= file.size()) {
    std::uint32_t size;
    std::memcpy(&size, &file[at + 8], 4);
    at += 16;
    if (at + size > file.size()) break;
    const auto* frame = reinterpret_cast<const std::uint8_t*>(&file[at]);
    at += size;
    if (size < 54 || sluice::load_be16(frame + 12) != 0x0800 || frame[23] != 6) continue;
    const std::size_t tcp = 14 + (frame[14] & 15u) * 4u;
    const std::size_t payload = tcp + (frame[tcp + 12] >> 4) * 4u;
    const std::size_t end = 14u + sluice::load_be16(frame + 16);
    if (sluice::load_be16(frame + tcp + 2) != 25 || payload >= end || end > size) continue;
    const std::string key(reinterpret_cast<const char*>(frame) + 26, 8);
    flows[key].segments.emplace_back(reinterpret_cast<const char*>(frame) + payload, end - payload);
  }
  std::vector<Message> messages;
  for (auto& [key, message] : flows) {
    std::string all;
    for (const std::string& segment : message.segments) all += segment;
    std::size_t body = all.find("Encoding: base64");
    if (body != std::string::npos) body = all.find("\r\n\r\n", body);
    std::string piece;
    for (std::size_t line = body; line != std::string::npos && line + 2 < all.size();) {
      const std::size_t end = all.find("\r\n", line);
      if (end == std::string::npos || all.compare(line, 2, "--") == 0) break;
      std::string octets((end - line) / 4 * 3 + 3, '\0');
      const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(octets.data()),
                                       reinterpret_cast<const unsigned char*>(&all[line]),
                                       static_cast<int>(end - line));
      if (size > 0) message.decoded.emplace_back(octets, 0, static_cast<std::size_t>(size));
      line = end + 2;
    }
    messages.push_back(std::move(message));
  }
  return messages;
}

void scan(const std::vector<Message>& messages, const sluice::scan::Ruleset& ruleset,
          bool decoded) {
  const auto scratch = sluice::scan::Scratch::make(ruleset);
  if (!scratch) return;
  std::vector<double> rounds;
  std::size_t octets = 0;
  std::size_t hits = 0;
  for (int round = 0; round < 5; ++round) {
    octets = 0;
    hits = 0;
    const double begin = cpu_seconds();
    for (const Message& message : messages) {
      sluice::scan::MessageScan scan(**scratch, std::pmr::get_default_resource());
      for (const std::string& segment : message.segments) {
        octets += segment.size();
        scan.feed(Buffer::stream, as_bytes(segment));
      }
      if (decoded) {
        for (const std::string& piece : message.decoded) {
          octets += piece.size();
          scan.feed(Buffer::decoded, as_bytes(piece));
        }
      }
      scan.settle();
      hits += scan.hits().size();
    }
    rounds.push_back(cpu_seconds() - begin);
  }
  std::ranges::sort(rounds);
  const double median = rounds[rounds.size() / 2];
  std::printf("  %-16s %6.2f us a message (%.2f..%.2f), %5.2f GB/s, %zu hits in %zu messages\n",
              decoded ? "stream, decoded" : "stream",
              median * 1e6 / static_cast<double>(messages.size()),
              rounds.front() * 1e6 / static_cast<double>(messages.size()),
              rounds.back() * 1e6 / static_cast<double>(messages.size()),
              static_cast<double>(octets) / median * 1e-9, hits, messages.size());
}

void look_up_hosts(std::uint32_t count) {
  std::mt19937_64 random(1);
  const auto v4 = [&] {
    const auto bits = static_cast<std::uint32_t>(random());
    std::uint8_t octets[4];
    std::memcpy(octets, &bits, 4);
    return sluice::Address::from_v4(octets);
  };
  std::vector<sluice::policy::PrefixMap::Entry> entries;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto length = static_cast<std::uint8_t>(i % 4 == 0 ? 120 : 128);
    entries.push_back({v4(), length, i});
    if (i % 4 == 1) {  // a quarter of IPv6
      auto& octets = entries.back().prefix.octets;
      const std::uint64_t high = random();
      const std::uint64_t low = random();
      std::memcpy(octets.data(), &high, 8);
      std::memcpy(&octets[8], &low, 8);
      octets[0] = 0x20;
      octets[1] = 0x01;
      entries.back().length = static_cast<std::uint8_t>(i % 8 == 1 ? 48 : 128);
    }
  }
  std::vector<sluice::policy::PrefixMap::Entry> queries;
  while (queries.size() < 500'000) queries.push_back(entries[random() % entries.size()]);
  const double begin = cpu_seconds();
  const sluice::policy::PrefixMap map(std::move(entries));
  const double built = cpu_seconds();
  std::uint64_t sum = 0;
  for (const auto& query : queries) {
    // Each lookup waits for the one before, as in the path.
    sluice::Address address = query.prefix;
    address.octets[15] = static_cast<std::uint8_t>(address.octets[15] ^ (sum & 1));
    sum += map.find(address);
  }
  const double done = cpu_seconds();
  std::printf("%u host rules: built in %.2f s, %zu octets, %.0f ns a lookup (%llu)\n", count,
              built - begin, map.memory_used(), (done - built) * 1e9 / 500'000,
              static_cast<unsigned long long>(sum % 10));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: scan_bench CAPTURE RULES...\n");
    return 2;
  }
  const std::vector<Message> messages = read_capture(argv[1]);
  for (int i = 2; i < argc; ++i) {
    const auto compiled = sluice::control::compile_rules({argv[i]});
    if (!compiled) {
      std::fprintf(stderr, "%s\n", compiled.error().c_str());
      return 1;
    }
    const double begin = cpu_seconds();
    const auto ruleset = sluice::scan::Ruleset::open((*compiled)->image);
    if (!ruleset) {
      std::fprintf(stderr, "%s\n", ruleset.error().c_str());
      return 1;
    }
    const double opened = cpu_seconds() - begin;
    const auto& stream = (*ruleset)->database(Buffer::stream);
    const auto& decoded = (*ruleset)->database(Buffer::decoded);
    std::printf("%s: %zu rules, %zu refused, compiled in %.2f s, opened in %.1f ms, section %zu\n",
                argv[i], (*compiled)->rules.size(), (*compiled)->refused,
                (*compiled)->compile_seconds, opened * 1e3, (*compiled)->image.size());
    std::printf("  databases: stream %zu (state %zu), decoded %zu (state %zu) octets\n",
                stream.size, stream.stream_size, decoded.size, decoded.stream_size);
    scan(messages, **ruleset, false);
    scan(messages, **ruleset, true);
  }
  for (const std::uint32_t count : {10'000u, 100'000u, 1'000'000u}) look_up_hosts(count);
  return 0;
}
