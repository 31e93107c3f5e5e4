// What SpamAssassin's rules cost and which hit: compiles rule files, runs them over messages.
//
//   spam_bench [--hits] [--cache DIR] [--chunk OCTETS] [--rounds N] RULES... -- MESSAGES...
//
// Without --hits: CPU time for a message, and what it is made of. With --hits: a JSON line for each
// message with its score, the rules that hit and the parts of metas that did. MESSAGES may be
// @FILE, a file with a name a line.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>
#include <memory_resource>
#include <string>
#include <string_view>
#include <vector>

#include "control/policy/rules.h"
#include "dataplane/scan/ruleset.h"
#include "dataplane/spam/spam_scan.h"

namespace {

using sluice::as_bytes;
using sluice::Bytes;

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

std::string read_file(const std::string& name) {
  std::ifstream in(name, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

struct Arguments {
  std::vector<std::filesystem::path> rules;
  std::vector<std::string> messages;
  std::string cache;
  std::size_t chunk = 1400;
  int rounds = 1;
  bool hits = false;
};

Arguments read_arguments(int argc, char** argv) {
  Arguments arguments;
  bool messages = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--hits") {
      arguments.hits = true;
    } else if (word == "--cache" && i + 1 < argc) {
      arguments.cache = argv[++i];
    } else if (word == "--chunk" && i + 1 < argc) {
      arguments.chunk = std::strtoul(argv[++i], nullptr, 10);
    } else if (word == "--rounds" && i + 1 < argc) {
      arguments.rounds = std::atoi(argv[++i]);
    } else if (word == "--") {
      messages = true;
    } else if (messages && word.starts_with('@')) {
      std::ifstream list{std::string(word.substr(1))};
      for (std::string line; std::getline(list, line);) arguments.messages.push_back(line);
    } else if (messages) {
      arguments.messages.emplace_back(word);
    } else {
      arguments.rules.emplace_back(word);
    }
  }
  return arguments;
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments = read_arguments(argc, argv);
  auto compiled = sluice::control::compile_rules(arguments.rules, {.cache = arguments.cache});
  if (!compiled) {
    std::fprintf(stderr, "%s\n", compiled.error().c_str());
    return 2;
  }
  std::fprintf(stderr, "%zu rules, %zu refused, %.1f s to compile, image of %zu octets\n",
               (*compiled)->rules.size(), (*compiled)->refused, (*compiled)->compile_seconds,
               (*compiled)->image.size());
  auto ruleset = sluice::scan::Ruleset::open((*compiled)->image);
  if (!ruleset) {
    std::fprintf(stderr, "%s\n", ruleset.error().c_str());
    return 2;
  }
  const sluice::scan::SpamRules* rules = (*ruleset)->spam();
  if (rules == nullptr) {
    std::fprintf(stderr, "no SpamAssassin rules (*.cf) among these\n");
    return 2;
  }
  auto scratch = sluice::scan::Scratch::make(**ruleset);
  if (!scratch) {
    std::fprintf(stderr, "%s\n", scratch.error().c_str());
    return 2;
  }
  sluice::spam::prepare();
  std::uint64_t octets = 0;
  std::uint64_t scanned = 0;
  std::uint64_t count = 0;
  double seconds = 0;
  std::pmr::unsynchronized_pool_resource memory;
  for (const std::string& name : arguments.messages) {
    const std::string message = read_file(name);
    for (int round = 0; round < arguments.rounds; ++round) {
      const double begin = cpu_seconds();
      sluice::scan::MessageScan stream(**scratch, &memory);
      sluice::spam::SpamScan scan(*rules, **scratch, {}, &memory);
      std::string_view rest = message;
      while (!rest.empty()) {
        const std::string_view piece = rest.substr(0, arguments.chunk);
        stream.feed(sluice::scan::Buffer::raw, as_bytes(piece));
        scan.feed(as_bytes(piece));
        rest.remove_prefix(piece.size());
      }
      stream.settle();
      for (const sluice::scan::Hit& hit : stream.hits()) {
        const auto rule = static_cast<std::uint32_t>(hit.rule - (*ruleset)->rules().data());
        if (const std::uint32_t test = (*ruleset)->spam_test(rule)) scan.set_full(test - 1);
      }
      scan.finish();
      seconds += cpu_seconds() - begin;
      scanned += scan.octets_scanned();
      octets += message.size();
      ++count;
      if (!arguments.hits) continue;
      std::printf("{\"file\":\"%s\",\"score\":%.3f,\"rules\":[", name.c_str(),
                  scan.score() / 1000.0);
      const char* comma = "";
      for (const sluice::scan::Hit& hit : scan.hits()) {
        std::printf("%s\"%s\"", comma, hit.rule->name.c_str());
        comma = ",";
      }
      std::printf("],\"sub\":[");
      comma = "";
      for (const auto& [test, value] : scan.all_hits()) {
        const sluice::scan::SpamTest& t = rules->tests()[test];
        if ((t.flags & sluice::scan::kTestSub) == 0) continue;
        std::printf("%s\"%s", comma, t.info.name.c_str());
        if (value != 1) std::printf("(%g)", value);
        std::printf("\"");
        comma = ",";
      }
      std::printf("]}\n");
    }
  }
  if (count == 0) return 0;
  const auto messages = static_cast<double>(count);
  std::fprintf(stderr, "%.0f messages of %.0f octets: %.1f us of CPU each, %.0f octets scanned\n",
               messages, static_cast<double>(octets) / messages, seconds / messages * 1e6,
               static_cast<double>(scanned) / messages);
  return 0;
}
