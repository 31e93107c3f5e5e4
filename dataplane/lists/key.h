// The texts by which lists are asked, and their hash: the one definition for control, which writes
// the table of a lists section, and for the dataplane, which reads it.
//
// Theory. Every entry of every list is a pair of kind and text. Texts are hashed from their end to
// their beginning, one octet after the other, by a polynomial modulo 2^61 - 1 at a key of the
// section's: so one walk over a host name gives the hash of each parent domain too. The kind is
// mixed in at the end. Two different texts of n octets collide at no more than n of the 2^61 keys,
// and the key follows from the content of all lists, so whoever adds some entries to one of them
// cannot choose where they fall. Equality is decided by the text itself: a hit is never a guess.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <string>
#include <string_view>

namespace sluice::lists {

// What an entry is compared with. Wire format in the policy image: append, never renumber.
enum class Kind : std::uint8_t {
  host_tree,    // "bad.example": the host of a URL, or any parent domain of it
  host,         // "=www.bad.example": the host of a URL, nothing below it
  url,          // "bad.example/a?b": a whole URL in normal_url()'s form
  address,      // "user@bad.example"
  domain,       // "@bad.example": the domain of an address, nothing below it
  domain_tree,  // "bad.example" in a list of addresses: the domain or any parent of it
  md5,          // 16 octets
  sha256,       // 32 octets
  name,         // "invoice.exe": a whole file name
  suffix,       // "*.exe": what follows a dot of a file name, to its end: "exe", "tar.gz"
};
inline constexpr std::size_t kKindCount = 10;
inline constexpr std::size_t kMaxKey = 2048;  // octets of an entry's text
inline constexpr std::size_t kMaxLabels = 127;

// Where a list is looked up. Values are bits of a mask in the image.
enum class Place : std::uint8_t { url, sender, recipient, from, attachment };
inline constexpr std::size_t kPlaceCount = 5;
constexpr std::uint32_t mask_of(Place place) { return 1u << static_cast<unsigned>(place); }

// Letters of ASCII are compared without case; other octets as they are.
constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

class Hash {
 public:
  explicit Hash(std::uint64_t key) : key_(key % (kPrime - 256) + 256) {}
  // One more octet in front of what was added.
  void prepend(char c) {
    const auto octet = static_cast<unsigned char>(lower(c));
    __extension__ using Wide = unsigned __int128;
    const Wide product = static_cast<Wide>(state_) * key_;
    std::uint64_t sum = static_cast<std::uint64_t>(product & kPrime) +
                        static_cast<std::uint64_t>(product >> 61) + octet + 1;
    if (sum >= kPrime) sum -= kPrime;
    state_ = sum;
  }
  void prepend(std::string_view text) {
    for (std::size_t i = text.size(); i > 0; --i) prepend(text[i - 1]);
  }
  // Of what was added so far, as a text of `kind`.
  std::uint64_t of(Kind kind) const {
    std::uint64_t h = state_ + (static_cast<std::uint64_t>(kind) + 1) * 0x9E3779B97F4A7C15;
    h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9;
    h = (h ^ (h >> 27)) * 0x94D049BB133111EB;
    return h ^ (h >> 31);
  }
  static std::uint64_t of(std::uint64_t key, Kind kind, std::string_view text) {
    Hash hash(key);
    hash.prepend(text);
    return hash.of(kind);
  }

 private:
  static constexpr std::uint64_t kPrime = (std::uint64_t{1} << 61) - 1;
  std::uint64_t key_;
  std::uint64_t state_ = 0;
};

// The one form in which URLs are compared: no scheme, user information, default port (80, 443) or
// fragment; `host` (in lower case, as A-labels) and what follows the authority as written, "/" if
// that is empty. Cut at kMaxKey. `host` empty: nothing.
void normal_url(std::string_view url, std::string_view host, std::pmr::string& out);

}  // namespace sluice::lists
