#include "control/policy/databases.h"

#include <hs_compile.h>
#include <hs_runtime.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <ctime>
#include <fstream>
#include <memory>
#include <numeric>
#include <string_view>
#include <system_error>

#include "control/files/read_file.h"

namespace sluice::control {
namespace {

// A pattern alone may need so much; the whole of a thousand ordinary ones needs about as much.
constexpr std::size_t kMaxPatternDatabase = 512 * 1024;
constexpr std::size_t kMaxPatternStream = 4096;
constexpr double kMaxPatternSeconds = 10;  // of CPU
// Characters of a regex when its repeated groups are written out: compiling takes the square.
constexpr std::uint64_t kMaxExpansion = 2000;

struct FreeDatabase {
  void operator()(hs_database_t* database) const { hs_free_database(database); }
};
using DatabasePointer = std::unique_ptr<hs_database_t, FreeDatabase>;

struct Attempt {
  DatabasePointer database;
  int culprit = -1;  // index in what was given, or -1
  std::string reason;
};

Attempt compile(const std::vector<const Pattern*>& patterns, bool streaming) {
  std::vector<const char*> expressions;
  std::vector<unsigned> flags;
  std::vector<unsigned> ids(patterns.size());
  std::vector<hs_expr_ext_t> extended(patterns.size());
  std::vector<const hs_expr_ext_t*> extended_pointers;
  std::iota(ids.begin(), ids.end(), 0u);
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    const Pattern& pattern = *patterns[i];
    expressions.push_back(pattern.expression.c_str());
    flags.push_back(pattern.flags);
    if (pattern.min_end > 0) {
      extended[i].flags |= HS_EXT_FLAG_MIN_OFFSET;
      extended[i].min_offset = pattern.min_end;
    }
    if (pattern.max_end != UINT64_MAX) {
      extended[i].flags |= HS_EXT_FLAG_MAX_OFFSET;
      extended[i].max_offset = pattern.max_end;
    }
    extended_pointers.push_back(extended[i].flags != 0 ? &extended[i] : nullptr);
  }
  hs_database_t* database = nullptr;
  hs_compile_error_t* error = nullptr;
  Attempt attempt;
  if (hs_compile_ext_multi(expressions.data(), flags.data(), ids.data(), extended_pointers.data(),
                           static_cast<unsigned>(patterns.size()),
                           streaming ? HS_MODE_STREAM : HS_MODE_BLOCK, nullptr, &database,
                           &error) != HS_SUCCESS) {
    attempt.culprit = error != nullptr ? error->expression : -1;
    attempt.reason = error != nullptr ? error->message : "out of memory";
    hs_free_compile_error(error);
    return attempt;
  }
  attempt.database.reset(database);
  return attempt;
}

// Finds patterns that do not compile when the library does not say which: halves are tried.
void find_culprits(const std::vector<const Pattern*>& patterns, const std::vector<std::size_t>& of,
                   bool streaming, std::vector<BadPattern>& bad) {
  Attempt attempt = compile(patterns, streaming);
  if (attempt.database) return;
  if (attempt.culprit >= 0 || patterns.size() == 1) {
    const auto at = static_cast<std::size_t>(std::max(attempt.culprit, 0));
    bad.push_back({of[at], attempt.reason});
    return;
  }
  const auto half = static_cast<std::ptrdiff_t>(patterns.size() / 2);
  find_culprits({patterns.begin(), patterns.begin() + half}, {of.begin(), of.begin() + half},
                streaming, bad);
  find_culprits({patterns.begin() + half, patterns.end()}, {of.begin() + half, of.end()}, streaming,
                bad);
}

// The number that kMaxExpansion bounds. A repeated single character counts little: Hyperscan has a
// counter for it.
std::uint64_t expansion(std::string_view regex) {
  constexpr std::uint64_t kMany = std::uint64_t{1} << 40;
  std::vector<std::uint64_t> groups{0};  // characters of each open group so far
  std::uint64_t last = 0;                // of the last atom
  bool last_is_group = false;
  for (std::size_t i = 0; i < regex.size(); ++i) {
    const char c = regex[i];
    if (c == '{') {
      std::uint64_t most = 0;
      for (++i; i < regex.size() && regex[i] != '}'; ++i) {
        if (regex[i] == ',' && i + 1 < regex.size() && regex[i + 1] != '}') most = 0;
        if (regex[i] >= '0' && regex[i] <= '9') {
          most = std::min<std::uint64_t>(most * 10 + static_cast<unsigned>(regex[i] - '0'), kMany);
        }
      }
      const std::uint64_t more = last_is_group ? last * (std::max<std::uint64_t>(most, 1) - 1) : 1;
      groups.back() = std::min(groups.back() + more, kMany);
      last = 0;
      continue;
    }
    if (c == '(') {
      groups.push_back(0);
      continue;
    }
    if (c == '|' || c == '?' || c == '*' || c == '+') continue;
    last_is_group = c == ')' && groups.size() > 1;
    if (last_is_group) {
      last = groups.back();
      groups.pop_back();
    } else {
      last = 1;
      if (c == '\\') ++i;
      if (c == '[') {
        for (i += 2; i < regex.size() && regex[i] != ']'; ++i) {
          if (regex[i] == '\\') ++i;
        }
      }
    }
    last = std::min(last, kMany / 4096);
    groups.back() = std::min(groups.back() + last, kMany);
  }
  return *std::ranges::max_element(groups);
}

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

using Digest = std::array<std::uint8_t, 32>;

class Hash {
 public:
  Hash() { EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr); }
  void add(const void* octets, std::size_t size) { EVP_DigestUpdate(context_.get(), octets, size); }
  template <typename Number>
  void add_number(Number number) {
    add(&number, sizeof number);
  }
  Digest finish() {
    Digest digest{};
    EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr);
    return digest;
  }

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_{EVP_MD_CTX_new()};
};

constexpr std::array<char, 8> kCacheMagic{'S', 'L', 'H', 'S', 'D', 'B', '0', '1'};

Digest cache_key(std::span<const Pattern> patterns, bool streaming) {
  Hash hash;
  hash.add(kCacheMagic.data(), kCacheMagic.size());
  const std::string_view version = hs_version();
  hash.add(version.data(), version.size());
  hs_platform_info_t platform{};
  hs_populate_platform(&platform);
  hash.add_number(platform.tune);
  hash.add_number(platform.cpu_features);
  hash.add_number(streaming);
  for (const Pattern& pattern : patterns) {
    hash.add_number(pattern.expression.size());
    hash.add(pattern.expression.data(), pattern.expression.size());
    hash.add_number(pattern.flags);
    hash.add_number(pattern.min_end);
    hash.add_number(pattern.max_end);
  }
  return hash.finish();
}

std::filesystem::path cache_path(const std::filesystem::path& cache, const Digest& key) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string name;
  for (const std::uint8_t octet : key) {
    name += kHex[octet >> 4];
    name += kHex[octet & 15];
  }
  return cache / (name + ".hsdb");
}

// File: magic, SHA-256 of key and database, database.
bool read_cache(const std::filesystem::path& path, const Digest& key,
                std::vector<std::uint8_t>& database) {
  const auto octets = read_file(path);
  Digest expected{};
  const std::size_t head = kCacheMagic.size() + expected.size();
  if (!octets || octets->size() < head ||
      !std::equal(kCacheMagic.begin(), kCacheMagic.end(), octets->begin()))
    return false;
  std::memcpy(expected.data(), octets->data() + kCacheMagic.size(), expected.size());
  database.assign(octets->begin() + static_cast<std::ptrdiff_t>(head), octets->end());
  Hash hash;
  hash.add(key.data(), key.size());
  hash.add(database.data(), database.size());
  return hash.finish() == expected;
}

// Keeps the newest files of a cache, so that it does not grow with every change of rules.
void prune_cache(const std::filesystem::path& cache) {
  constexpr std::size_t kMostFiles = 64;
  std::vector<std::pair<std::filesystem::file_time_type, std::filesystem::path>> files;
  std::error_code error;
  for (std::filesystem::directory_iterator at(cache, error), end; !error && at != end;
       at.increment(error)) {
    if (at->path().extension() != ".hsdb") continue;
    std::error_code gone;
    const auto time = at->last_write_time(gone);
    if (!gone) files.emplace_back(time, at->path());
  }
  if (files.size() <= kMostFiles) return;
  std::ranges::sort(files);
  for (std::size_t i = 0; i + kMostFiles < files.size(); ++i) {
    std::filesystem::remove(files[i].second, error);
  }
}

// A cache that cannot be written is no fault: the database is there. Whole files only: written
// beside and moved into place.
void write_cache(const std::filesystem::path& path, const Digest& key,
                 const std::vector<std::uint8_t>& database) {
  std::error_code ignored;
  std::filesystem::create_directories(path.parent_path(), ignored);
  const std::filesystem::path beside = path.string() + "." + std::to_string(getpid());
  {
    Hash hash;
    hash.add(key.data(), key.size());
    hash.add(database.data(), database.size());
    const Digest digest = hash.finish();
    std::ofstream file(beside, std::ios::binary | std::ios::trunc);
    file.write(kCacheMagic.data(), kCacheMagic.size());
    file.write(reinterpret_cast<const char*>(digest.data()), digest.size());
    file.write(reinterpret_cast<const char*>(database.data()),
               static_cast<std::streamsize>(database.size()));
    if (!file.flush()) {
      std::filesystem::remove(beside, ignored);
      return;
    }
  }
  std::filesystem::rename(beside, path, ignored);
  if (ignored) std::filesystem::remove(beside, ignored);
  prune_cache(path.parent_path());
}

}  // namespace

contract::Platform this_platform() {
  unsigned version[3] = {};
  std::string_view text = hs_version();
  for (unsigned& part : version) {
    while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
      part = part * 10 + static_cast<unsigned>(text.front() - '0');
      text.remove_prefix(1);
    }
    if (text.empty() || text.front() != '.') break;
    text.remove_prefix(1);
  }
  hs_platform_info_t platform{};
  hs_populate_platform(&platform);
  return (version[0] & 0xff) << 24 | (version[1] & 0xff) << 16 | (version[2] & 0xff) << 8 |
         static_cast<unsigned>(platform.cpu_features & 0xff);
}

Result<BuiltDatabase> build_database(std::span<const Pattern> patterns, bool streaming,
                                     const std::filesystem::path& cache) {
  const auto begin = std::chrono::steady_clock::now();
  BuiltDatabase built;
  const auto measure = [&](const hs_database_t* database) {
    hs_database_size(database, &built.octets);
    if (streaming) hs_stream_size(database, &built.stream_octets);
    built.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  const Digest key = cache.empty() ? Digest{} : cache_key(patterns, streaming);
  const std::filesystem::path path = cache.empty() ? cache : cache_path(cache, key);
  if (!cache.empty() && read_cache(path, key, built.serialized)) {
    // What is used is not the oldest.
    std::error_code ignored;
    std::filesystem::last_write_time(path, std::filesystem::file_time_type::clock::now(), ignored);
    hs_database_t* database = nullptr;
    if (hs_deserialize_database(reinterpret_cast<const char*>(built.serialized.data()),
                                built.serialized.size(), &database) == HS_SUCCESS) {
      const DatabasePointer whole(database);
      built.from_cache = true;
      measure(database);
      return built;
    }
  }
  built.serialized.clear();
  std::vector<const Pattern*> pointers;
  pointers.reserve(patterns.size());
  for (const Pattern& pattern : patterns) pointers.push_back(&pattern);
  Attempt attempt = compile(pointers, streaming);
  if (!attempt.database) {
    if (attempt.culprit >= 0) {
      built.bad.push_back({static_cast<std::size_t>(attempt.culprit), attempt.reason});
      return built;
    }
    std::vector<std::size_t> of(patterns.size());
    std::iota(of.begin(), of.end(), std::size_t{0});
    find_culprits(pointers, of, streaming, built.bad);
    if (built.bad.empty()) {
      return Error{"Hyperscan cannot compile these " + std::to_string(patterns.size()) +
                   " patterns together: " + attempt.reason};
    }
    return built;
  }
  char* octets = nullptr;
  std::size_t size = 0;
  if (hs_serialize_database(attempt.database.get(), &octets, &size) != HS_SUCCESS) {
    return Error{"Hyperscan cannot serialize a database: out of memory"};
  }
  built.serialized.assign(octets, octets + size);
  std::free(octets);  // NOLINT(cppcoreguidelines-no-malloc): allocated by Hyperscan's malloc
  measure(attempt.database.get());
  if (!cache.empty()) write_cache(path, key, built.serialized);
  return built;
}

std::string too_expensive(const Pattern& pattern, bool streaming) {
  if (pattern.literal || pattern.expression.find('{') == std::string::npos) return {};
  const std::uint64_t expanded = expansion(pattern.expression);
  if (expanded > kMaxExpansion) {
    return "too expensive: with its repeated groups written out the regex has " +
           std::to_string(expanded) + " characters, and at most " + std::to_string(kMaxExpansion) +
           " are compiled: make its counted repeats smaller or give them no upper bound";
  }
  const double begin = cpu_seconds();
  const Attempt attempt = compile({&pattern}, streaming);
  const double seconds = cpu_seconds() - begin;
  if (!attempt.database) {
    return "Hyperscan refuses it: " + attempt.reason +
           " Make its counted repeats smaller or write it as several rules";
  }
  std::size_t size = 0;
  std::size_t stream = 0;
  hs_database_size(attempt.database.get(), &size);
  if (streaming) hs_stream_size(attempt.database.get(), &stream);
  if (size <= kMaxPatternDatabase && stream <= kMaxPatternStream && seconds <= kMaxPatternSeconds) {
    return {};
  }
  return "too expensive: alone it needs a database of " + std::to_string(size) + " octets, " +
         std::to_string(stream) + " octets of state for each message and " +
         std::to_string(seconds).substr(0, 5) +
         " s to compile: make its counted repeats smaller or give them no upper bound";
}

}  // namespace sluice::control
