// Policy images from a control process that is broken: the container is right (its digest too,
// which no random input would hit), the sections are the input. An even first octet: policy
// section; an odd one: ruleset section. Both are opened and, if they are taken, used.
#include <openssl/evp.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "dataplane/contract/policy_image.h"
#include "dataplane/policy/policy.h"
#include "dataplane/scan/ruleset.h"

namespace {

using sluice::Bytes;
using sluice::contract::PolicyImageHeader;

void open_image(Bytes section) {
  PolicyImageHeader header;
  header.policy_offset = sizeof header;
  header.policy_size = section.size();
  header.size = sizeof header + section.size();
  std::vector<std::uint8_t> image(header.size, 0);
  std::memcpy(image.data(), &header, sizeof header);
  if (!section.empty()) std::memcpy(&image[sizeof header], section.data(), section.size());
  constexpr std::size_t kDigest = offsetof(PolicyImageHeader, digest);
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  EVP_DigestInit_ex(context, EVP_sha256(), nullptr);
  EVP_DigestUpdate(context, image.data(), kDigest);
  EVP_DigestUpdate(context, &image[kDigest + 32], image.size() - kDigest - 32);
  EVP_DigestFinal_ex(context, &image[kDigest], nullptr);
  EVP_MD_CTX_free(context);
  const auto policy = sluice::policy::Policy::open(image, {});
  if (!policy) {
    if (policy.error().empty()) std::abort();  // a refusal says why
    return;
  }
  for (std::uint8_t octet = 0; octet < 250; octet = static_cast<std::uint8_t>(octet + 7)) {
    const std::uint8_t v4[4] = {octet, octet, 0, 1};
    const auto address = sluice::Address::from_v4(v4);
    (*policy)->host(address);
    (*policy)->group_of(address);
    (*policy)->inside(address);
  }
}

void open_ruleset(Bytes section) {
  // On the heap: aligned, and with its end where a sanitizer watches.
  const std::vector<std::uint8_t> copy(section.begin(), section.end());
  const auto ruleset = sluice::scan::Ruleset::open(copy);
  if (!ruleset && ruleset.error().empty()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Bytes section(data + 1, size - 1);
  if ((data[0] & 1) == 0) {
    open_image(section);
  } else {
    open_ruleset(section);
  }
  return 0;
}
