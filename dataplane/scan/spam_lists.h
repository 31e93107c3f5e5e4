// Lists of addresses and hosts that rules look up by name (SpamAssassin's enlist_* settings),
// prepared once: exact names and domains by hash, other patterns one by one.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace sluice::scan {

// '*' and '?' as in file names; '*' does not cross a dot when `labels`. Linear for few stars.
bool glob_matches(std::string_view pattern, std::string_view text, bool labels);

class SpamNameList {
 public:
  // A word of the setting, in any case. Words behind '!' take hosts out, which no list here needs:
  // they are left out.
  void add(std::string_view word);

  bool empty() const {
    return exact_.empty() && domains_.empty() && subdomains_.empty() && globs_.empty();
  }
  // `address` in lower case.
  bool has_address(std::string_view address) const;
  // The host or a domain above it; in lower case.
  bool has_host(std::string_view host) const;

 private:
  // Looked up without making strings.
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
  };
  using Names = std::unordered_set<std::string, Hash, std::equal_to<>>;
  static bool has_domain_above(const Names& set, std::string_view host);

  Names exact_;
  Names domains_;     // of *@domain
  Names subdomains_;  // of *@*.domain
  std::vector<std::string> globs_;
};

}  // namespace sluice::scan
