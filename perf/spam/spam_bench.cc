// What SpamAssassin's rules cost and which hit: compiles rule files, runs them over messages.
//
//   spam_bench [--hits] [--parts] [--groups] [--cache DIR] [--chunk OCTETS] [--rounds N] RULES...
//   -- MESSAGES...
//
// CPU time for a message. With --groups what it is made of, and the tests that take the most
// (asking the clock costs time itself). With --hits a JSON line for each message with its score and
// the rules that hit; with --parts also the parts of metas that did, which are then all tried.
// MESSAGES may be @FILE, a file with a name a line.
//
// Which functions: valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*run_message*'.
#include <algorithm>
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
namespace scan = sluice::scan;
namespace spam = sluice::spam;

std::uint64_t nanoseconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000000000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

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
  bool parts = false;
  bool groups = false;
};

Arguments read_arguments(int argc, char** argv) {
  Arguments arguments;
  bool messages = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--hits") {
      arguments.hits = true;
    } else if (word == "--parts") {
      arguments.hits = arguments.parts = true;
    } else if (word == "--groups") {
      arguments.groups = true;
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

// Microseconds of a message by group, and the tests that take the most.
void print_groups(const scan::SpamTimes& times, const scan::SpamRules& rules, double messages,
                  double seconds) {
  // The clock is the wall's, for it costs the least; on a busy machine it runs faster than the CPU.
  double all = 0;
  for (const std::uint64_t spent : times.by_group()) all += static_cast<double>(spent);
  const double share = all > 0 ? seconds * 1e6 / all : 0;
  const auto microseconds = [&](std::uint64_t spent) {
    return static_cast<double>(spent) * share / messages;
  };
  for (std::size_t i = 0; i < scan::kSpamGroupCount; ++i) {
    std::printf("%-28s %9.2f us\n", std::string(scan::kSpamGroupNames[i]).c_str(),
                microseconds(times.by_group()[i]));
  }
  std::vector<std::uint32_t> order(times.by_test().size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return times.by_test()[a].spent > times.by_test()[b].spent;
  });
  for (std::size_t i = 0; i < std::min<std::size_t>(order.size(), 5000); ++i) {
    const auto& of = times.by_test()[order[i]];
    std::printf("  %-40s %9.3f us %9.2f tries\n", rules.tests()[order[i]].info.name.c_str(),
                microseconds(of.spent), static_cast<double>(of.tries) / messages);
  }
}

// How the regexes of each buffer are looked for.
void print_tables(const scan::SpamRules& rules) {
  for (std::size_t i = 0; i < scan::kSpamBufferCount; ++i) {
    const scan::SpamDatabase& database = rules.database(static_cast<scan::SpamBuffer>(i));
    std::size_t direct = 0;
    for (const auto& of : database.direct) direct += of.size();
    std::printf(
        "%-12s by words %zu (%zu words, %zu octets), by joined words %zu (%zu words), patterns %zu "
        "(%zu octets), beyond ASCII %zu, on each item %zu\n",
        std::string(scan::kSpamBufferNames[i]).c_str(), database.words.candidates().size(),
        database.words.words(), database.words.size(), database.joined.candidates().size(),
        database.joined.words(), database.first.empty() ? 0 : database.first.size() - 1,
        database.size, database.high.size(), direct);
  }
}

// One message through the rules, as a worker does it.
[[gnu::noinline]] void run_message(const scan::Ruleset& ruleset, std::string_view message,
                                   std::size_t chunk, scan::SpamTimes* times,
                                   scan::MessageScan& stream, spam::SpamScan& scan) {
  while (!message.empty()) {
    const std::string_view piece = message.substr(0, chunk);
    {
      const scan::SpamTimer timer(times, scan::SpamGroup::full);
      stream.feed(scan::Buffer::raw, as_bytes(piece));
    }
    scan.feed(as_bytes(piece));
    message.remove_prefix(piece.size());
  }
  {
    const scan::SpamTimer timer(times, scan::SpamGroup::full);
    stream.settle();
    for (const scan::Hit& hit : stream.hits()) {
      const auto rule = static_cast<std::uint32_t>(hit.rule - ruleset.rules().data());
      if (const std::uint32_t test = ruleset.spam_test(rule)) scan.set_full(test - 1);
    }
  }
  scan.finish();
}

void print_hits(const std::string& name, const spam::SpamScan& scan, const scan::SpamRules& rules) {
  std::printf("{\"file\":\"%s\",\"score\":%.3f,\"rules\":[", name.c_str(), scan.score() / 1000.0);
  const char* comma = "";
  for (const scan::Hit& hit : scan.hits()) {
    std::printf("%s\"%s\"", comma, hit.rule->name.c_str());
    comma = ",";
  }
  std::printf("],\"sub\":[");
  comma = "";
  for (const auto& [test, value] : scan.all_hits()) {
    const scan::SpamTest& t = rules.tests()[test];
    if ((t.flags & scan::kTestSub) == 0) continue;
    std::printf("%s\"%s", comma, t.info.name.c_str());
    if (value != 1) std::printf("(%g)", value);
    std::printf("\"");
    comma = ",";
  }
  std::printf("]}\n");
}

int run(const Arguments& arguments, const scan::Ruleset& ruleset, scan::Scratch& scratch) {
  const scan::SpamRules& rules = *ruleset.spam();
  std::uint64_t octets = 0;
  std::uint64_t scanned = 0;
  std::uint64_t count = 0;
  double seconds = 0;
  std::vector<double> of_message;
  std::pmr::unsynchronized_pool_resource memory;
  scan::SpamTimes times(&nanoseconds);
  spam::SpamScan::Options options;
  if (arguments.groups) options.times = &times;
  options.everything = arguments.parts;
  for (const std::string& name : arguments.messages) {
    const std::string message = read_file(name);
    for (int round = 0; round < arguments.rounds; ++round) {
      times.begin(scan::SpamGroup::other);
      const double begin = cpu_seconds();
      scan::MessageScan stream(scratch, &memory);
      spam::SpamScan scan(rules, scratch, options, &memory);
      run_message(ruleset, message, arguments.chunk, options.times, stream, scan);
      const double of_one = cpu_seconds() - begin;
      times.end();
      seconds += of_one;
      of_message.push_back(of_one);
      scanned += scan.octets_scanned();
      octets += message.size();
      ++count;
      if (arguments.hits) print_hits(name, scan, rules);
    }
  }
  if (count == 0) return 0;
  const auto messages = static_cast<double>(count);
  std::fprintf(stderr, "%.0f messages of %.0f octets: %.1f us of CPU each, %.0f octets scanned\n",
               messages, static_cast<double>(octets) / messages, seconds / messages * 1e6,
               static_cast<double>(scanned) / messages);
  std::ranges::sort(of_message);
  std::fprintf(stderr, "median %.1f us, 9 of 10 below %.1f us, 99 of 100 below %.1f us\n",
               of_message[of_message.size() / 2] * 1e6,
               of_message[of_message.size() * 9 / 10] * 1e6,
               of_message[of_message.size() * 99 / 100] * 1e6);
  if (arguments.groups) print_tables(rules);
  if (arguments.groups) print_groups(times, rules, messages, seconds);
  return 0;
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
  auto ruleset = scan::Ruleset::open((*compiled)->image);
  if (!ruleset) {
    std::fprintf(stderr, "%s\n", ruleset.error().c_str());
    return 2;
  }
  if ((*ruleset)->spam() == nullptr) {
    std::fprintf(stderr, "no SpamAssassin rules (*.cf) among these\n");
    return 2;
  }
  auto scratch = scan::Scratch::make(**ruleset);
  if (!scratch) {
    std::fprintf(stderr, "%s\n", scratch.error().c_str());
    return 2;
  }
  spam::prepare();
  return run(arguments, **ruleset, **scratch);
}
