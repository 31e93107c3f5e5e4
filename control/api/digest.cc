#include "control/api/digest.h"

#include <openssl/sha.h>

#include <array>

namespace sluice::control {

std::string sha256_text(std::string_view octets) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(reinterpret_cast<const unsigned char*>(octets.data()), octets.size(), digest.data());
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (const unsigned char o : digest) {
    out += kDigits[o >> 4];
    out += kDigits[o & 15];
  }
  return out;
}

}  // namespace sluice::control
