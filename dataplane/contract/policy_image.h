// The container of a policy image: what control seals into a memfd and the dataplane opens.
//
//   PolicyImageHeader | policy section (FlatBuffers, id "SLPO") | ruleset section ("SLRU")
//                     | lists section ("SLLI")
//
// Sections start at multiples of kSectionAlignment, in this order, and only zero octets stand
// between them. The ruleset and lists sections may be left out (their size 0): the dataplane then
// looks their digests up among those that are live; a digest of zeros: there are none. `digest` is
// the SHA-256 of the whole image with this field left out, so that a flipped bit anywhere is found
// before anything is parsed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace sluice::contract {

inline constexpr std::array<char, 8> kPolicyImageMagic{'S', 'L', 'U', 'I', 'C', 'E', 'P', 'I'};
inline constexpr std::uint32_t kPolicyImageVersion = 4;
inline constexpr std::size_t kSectionAlignment = 64;
// Larger images are refused before they are mapped: FlatBuffers offsets are 32 bits wide.
inline constexpr std::uint64_t kMaxSectionSize = std::uint64_t{1} << 30;
inline constexpr char kPolicySectionId[] = "SLPO";
inline constexpr char kRulesetSectionId[] = "SLRU";
inline constexpr char kListsSectionId[] = "SLLI";
// How deep and how many tables the FlatBuffers verifier allows.
inline constexpr std::uint32_t kPolicyImageDepth = 8;
inline constexpr std::uint32_t kPolicyImageTables = 20'000'000;

// What the databases of an image were compiled for: Hyperscan's version (major, minor, patch in
// bits 24-31, 16-23, 8-15) and CPU features (bits 0-7: HS_CPU_FEATURES_*, AVX2 4, AVX512 8,
// AVX512VBMI 16). 0: the image holds no database.
using Platform = std::uint32_t;
inline constexpr Platform kPlatformAvx2 = 1u << 2;
inline constexpr Platform kPlatformAvx512 = 1u << 3;
inline constexpr Platform kPlatformAvx512Vbmi = 1u << 4;

struct PolicyImageHeader {
  std::array<char, 8> magic = kPolicyImageMagic;
  std::uint32_t version = kPolicyImageVersion;
  Platform platform = 0;
  std::uint64_t size = 0;  // of the whole image
  std::uint64_t policy_offset = 0;
  std::uint64_t policy_size = 0;
  std::uint64_t ruleset_offset = 0;
  std::uint64_t ruleset_size = 0;                 // 0: left out
  std::array<std::uint8_t, 32> ruleset_digest{};  // SHA-256 of the ruleset section
  std::uint64_t lists_offset = 0;
  std::uint64_t lists_size = 0;                 // 0: left out
  std::array<std::uint8_t, 32> lists_digest{};  // SHA-256 of the lists section
  std::array<std::uint8_t, 32> digest{};        // SHA-256 of all but this field
};
static_assert(sizeof(PolicyImageHeader) == 168 && alignof(PolicyImageHeader) == 8);
static_assert(offsetof(PolicyImageHeader, digest) == 136);

}  // namespace sluice::contract
