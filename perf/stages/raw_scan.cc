#include "perf/stages/raw_scan.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <regex>

namespace sluice::perf {
namespace {

struct Patterns {
  std::vector<std::string> texts;
  std::vector<unsigned> flags;

  void add(std::string text, bool nocase) {
    texts.push_back(std::move(text));
    flags.push_back(nocase ? HS_FLAG_CASELESS : 0);
  }
};

std::string escaped(const std::string& literal) {
  std::string text;
  for (const char c : literal) {
    if (!std::isalnum(static_cast<unsigned char>(c))) text += '\\';
    text += c;
  }
  return text;
}

int count(unsigned, unsigned long long, unsigned long long, unsigned, void* context) {
  ++*static_cast<std::size_t*>(context);
  return 0;
}

}  // namespace

Result<std::unique_ptr<RawScan>> RawScan::compile(const std::string& rules_file) {
  std::unique_ptr<RawScan> raw(new RawScan);
  Patterns patterns[kBuffers];
  const std::regex content(R"re(content:"([^"]*)";(?: fast_pattern;)?( nocase;)?)re");
  const std::regex pcre(R"re(pcre:"/(.*)/(i?)";)re");
  std::ifstream file(rules_file);
  if (!file) return Error{rules_file + ": cannot be read"};
  for (std::string line; std::getline(file, line);) {
    auto& of = patterns[line.find("file_data;") != std::string::npos ? kDecoded : kStream];
    for (std::sregex_iterator at(line.begin(), line.end(), content), end; at != end; ++at) {
      if ((*at)[1].str().find_first_of("|\\") != std::string::npos)
        return Error{"a content with hexadecimal or escapes: " + line};
      of.add(escaped((*at)[1]), (*at)[2].matched);
    }
    if (std::smatch found; std::regex_search(line, found, pcre)) of.add(found[1], found.length(2));
  }
  for (std::size_t i = 0; i < kBuffers; ++i) {
    raw->patterns_ += patterns[i].texts.size();
    if (patterns[i].texts.empty()) continue;
    std::vector<const char*> texts;
    std::vector<unsigned> numbers;
    for (const std::string& text : patterns[i].texts) {
      numbers.push_back(static_cast<unsigned>(texts.size()));
      texts.push_back(text.c_str());
    }
    hs_compile_error_t* error = nullptr;
    if (hs_compile_multi(texts.data(), patterns[i].flags.data(), numbers.data(),
                         static_cast<unsigned>(texts.size()), HS_MODE_STREAM, nullptr,
                         &raw->databases_[i], &error) != HS_SUCCESS) {
      std::string text = error->message;
      hs_free_compile_error(error);
      return Error{rules_file + ": " + text};
    }
    if (hs_alloc_scratch(raw->databases_[i], &raw->scratch_) != HS_SUCCESS ||
        hs_open_stream(raw->databases_[i], 0, &raw->streams_[i]) != HS_SUCCESS)
      return Error{"no memory"};
  }
  return raw;
}

RawScan::~RawScan() {
  for (std::size_t i = 0; i < kBuffers; ++i) {
    if (streams_[i]) hs_close_stream(streams_[i], scratch_, nullptr, nullptr);
    hs_free_database(databases_[i]);
  }
  hs_free_scratch(scratch_);
}

std::size_t RawScan::scan(std::size_t buffer, Bytes octets) {
  constexpr std::size_t kChunk = 1460;
  std::size_t found = 0;
  hs_stream_t* stream = streams_[buffer];
  if (!stream) return 0;
  for (std::size_t at = 0; at < octets.size(); at += kChunk) {
    const Bytes chunk = octets.subspan(at, std::min(kChunk, octets.size() - at));
    hs_scan_stream(stream, reinterpret_cast<const char*>(chunk.data()),
                   static_cast<unsigned>(chunk.size()), 0, scratch_, count, &found);
  }
  hs_reset_stream(stream, 0, scratch_, count, &found);
  return found;
}

}  // namespace sluice::perf
