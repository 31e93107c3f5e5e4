// What lists cost: a million lines of each kind read, compiled to a section and opened, and the
// look-ups of hosts that are on them and that are not.
//
//   lists_bench [ENTRIES]      one JSON object a line
#include <malloc.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory_resource>
#include <random>
#include <string>

#include "control/policy/compiled_lists.h"

namespace {

using namespace sluice;

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// Octets of the heap in use.
std::size_t heap() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

struct Count final : lists::Lists::Hits {
  void on_list(const lists::List&) override { ++hits; }
  std::uint64_t hits = 0;
};

std::string label(std::mt19937_64& random) {
  std::string text;
  for (std::size_t n = 6 + random() % 8; n > 0; --n) {
    text += static_cast<char>('a' + random() % 26);
  }
  return text;
}

std::string entry(control::MatchKind kind, std::mt19937_64& random) {
  constexpr const char* kTop[] = {".com", ".net", ".org", ".info", ".co.uk", ".xyz"};
  const std::string domain = label(random) + kTop[random() % 6];
  char hex[65];
  switch (kind) {
    case control::MatchKind::url:
      return domain;
    case control::MatchKind::address:
      return label(random) + "@" + domain;
    case control::MatchKind::hash:
      for (int i = 0; i < 4; ++i) {
        std::snprintf(hex + i * 16, 17, "%016llx", static_cast<unsigned long long>(random()));
      }
      return hex;
    case control::MatchKind::file_name:
      return label(random) + ".exe";
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t count = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1'000'000;
  const auto path =
      std::filesystem::temp_directory_path() / ("lists-bench-" + std::to_string(::time(nullptr)));
  for (int k = 0; k < 4; ++k) {
    const auto kind = static_cast<control::MatchKind>(k);
    std::mt19937_64 random(1);
    std::vector<std::string> sample;
    {
      std::ofstream out(path);
      for (std::size_t i = 0; i < count; ++i) {
        std::string line = entry(kind, random);
        if (i % 16 == 0) sample.push_back(line);
        out << line << '\n';
      }
    }
    const std::size_t size = std::filesystem::file_size(path);
    const std::size_t heap0 = heap();
    const double t0 = cpu_seconds();
    auto read = control::read_match_list(path, kind, false);
    const double t1 = cpu_seconds();
    const std::size_t heap1 = heap();
    if (!read || (*read)->entries != count) {
      std::fprintf(stderr, "the list was not read whole\n");
      return 1;
    }
    control::ListToCompile one;
    one.list.places = kind == control::MatchKind::url       ? mask_of(lists::Place::url)
                      : kind == control::MatchKind::address ? mask_of(lists::Place::sender)
                                                            : mask_of(lists::Place::attachment);
    one.entries = *read;
    const auto compiled = control::compile_lists({one});
    const double t2 = cpu_seconds();
    auto opened = compiled ? lists::Lists::open((*compiled)->image) : Error{compiled.error()};
    const double t3 = cpu_seconds();
    if (!opened) {
      std::fprintf(stderr, "%s\n", opened.error().c_str());
      return 1;
    }
    // Each text is asked for as it stands and with an octet more, which no list holds.
    Count found;
    std::uint64_t asked = 0;
    double present = 0;
    double absent = 0;
    if (kind == control::MatchKind::url) {
      const double t4 = cpu_seconds();
      for (const std::string& text : sample) {
        (*opened)->find_url(text, "www." + text, std::pmr::get_default_resource(), found);
      }
      const double t5 = cpu_seconds();
      asked = found.hits;
      for (const std::string& text : sample) {
        (*opened)->find_url(text, "www." + text + "q", std::pmr::get_default_resource(), found);
      }
      present = (t5 - t4) * 1e9 / static_cast<double>(sample.size());
      absent = (cpu_seconds() - t5) * 1e9 / static_cast<double>(sample.size());
      if (asked < sample.size() || found.hits != asked) {
        std::fprintf(stderr, "%llu of %zu were found\n", static_cast<unsigned long long>(asked),
                     sample.size());
        return 1;
      }
    }
    std::printf(
        "{\"kind\": \"%s\", \"entries\": %zu, \"file_octets\": %zu, \"read_seconds\": %.3f, "
        "\"compile_seconds\": %.3f, \"open_seconds\": %.3f, \"kept_by_control_octets\": %zu, "
        "\"section_octets\": %zu, \"dataplane_octets\": %zu",
        std::string(control::kMatchKindNames[static_cast<std::size_t>(k)]).c_str(), count, size,
        t1 - t0, t2 - t1, t3 - t2, heap1 - heap0, (*compiled)->image.size(),
        (*opened)->memory_used());
    if (present > 0) {
      std::printf(", \"listed_host_ns\": %.0f, \"other_host_ns\": %.0f", present, absent);
    }
    std::printf("}\n");
  }
  std::filesystem::remove(path);
  return 0;
}
