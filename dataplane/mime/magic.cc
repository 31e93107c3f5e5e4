#include "dataplane/mime/magic.h"

#include <algorithm>
#include <array>
#include <span>

#include "dataplane/mime/text.h"

namespace sluice::mime {
namespace {

using namespace std::string_view_literals;

struct Magic {
  std::uint8_t offset;
  std::string_view octets;
  std::string_view type;
};

constexpr Magic kMagic[] = {
    {0, "PK\3\4"sv, "application/zip"},
    {0, "PK\5\6"sv, "application/zip"},
    {0, "PK\7\10"sv, "application/zip"},
    {0, "%PDF-"sv, "application/pdf"},
    {0, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"sv, "application/x-ole-storage"},
    {0, "MZ"sv, "application/vnd.microsoft.portable-executable"},
    {0,
     "\x7f"
     "ELF"sv,
     "application/x-elf"},
    {0, "\xcf\xfa\xed\xfe"sv, "application/x-mach-binary"},
    {0, "\xce\xfa\xed\xfe"sv, "application/x-mach-binary"},
    {0, "\x89PNG\r\n\x1a\n"sv, "image/png"},
    {0, "\xff\xd8\xff"sv, "image/jpeg"},
    {0, "GIF87a"sv, "image/gif"},
    {0, "GIF89a"sv, "image/gif"},
    {0, "II*\0"sv, "image/tiff"},
    {0, "MM\0*"sv, "image/tiff"},
    {8, "WEBP"sv, "image/webp"},
    {8, "WAVE"sv, "audio/wav"},
    {8, "AVI "sv, "video/x-msvideo"},
    {4, "ftyp"sv, "video/mp4"},
    {0, "ID3"sv, "audio/mpeg"},
    {0, "OggS"sv, "application/ogg"},
    {0, "Rar!\x1a\7"sv, "application/vnd.rar"},
    {0, "7z\xbc\xaf\x27\x1c"sv, "application/x-7z-compressed"},
    {0, "\x1f\x8b"sv, "application/gzip"},
    {0, "BZh"sv, "application/x-bzip2"},
    {0,
     "\xfd"
     "7zXZ\0"sv,
     "application/x-xz"},
    {0, "(\xb5/\xfd"sv, "application/zstd"},
    {0, "MSCF"sv, "application/vnd.ms-cab-compressed"},
    {0, "\x60\xea"sv, "application/x-arj"},
    {7, "**ACE**"sv, "application/x-ace-compressed"},
    {2, "-lh"sv, "application/x-lzh-compressed"},
    {0, "{\\rtf"sv, "text/rtf"},
    {0, "ITSF"sv, "application/vnd.ms-htmlhelp"},
    {0, "L\0\0\0\1\x14\2\0"sv, "application/x-ms-shortcut"},
    {0, "\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d"sv, "application/onenote"},
    {0, "\x78\x9f\x3e\x22"sv, "application/vnd.ms-tnef"},
    {0, "vhdxfile"sv, "application/x-vhdx"},
    {0, "conectix"sv, "application/x-vhd"},
    {0, "\xca\xfe\xba\xbe"sv, "application/java-vm"},
    {0, "\0asm"sv, "application/wasm"},
    {0, "BM"sv, "image/bmp"},
    {0, "wOFF"sv, "font/woff"},
    {0, "%!PS"sv, "application/postscript"},
    {0, "#!"sv, "text/x-shellscript"},
    {0, "-----BEGIN PGP"sv, "application/pgp-encrypted"},
};

// Texts that begin, after blanks and a byte order mark, with one of these in any case.
constexpr Magic kTexts[] = {
    {0, "<!doctype html"sv, "text/html"}, {0, "<html"sv, "text/html"},
    {0, "<head"sv, "text/html"},          {0, "<body"sv, "text/html"},
    {0, "<script"sv, "text/html"},        {0, "<svg"sv, "image/svg+xml"},
    {0, "<?xml"sv, "text/xml"},           {0, "<job"sv, "text/xml"},
};

// Those that stand further behind.
constexpr std::size_t kFarther =
    std::ranges::count_if(kMagic, [](const Magic& m) { return m.offset != 0; });
constexpr auto kBehind = [] {
  std::array<Magic, kFarther> behind{};
  std::ranges::copy_if(kMagic, behind.begin(), [](const Magic& m) { return m.offset != 0; });
  return behind;
}();

// Whether something of the list begins with the octet.
constexpr auto kMayBegin = [] {
  std::array<bool, 256> may{};
  for (const Magic& m : kMagic)
    if (m.offset == 0) may[static_cast<std::uint8_t>(m.octets[0])] = true;
  return may;
}();

}  // namespace

std::string_view detect_type(Bytes first) {
  const std::string_view text = as_text(first);
  const bool begins = !first.empty() && kMayBegin[first[0]];
  for (const Magic& m : begins ? std::span<const Magic>(kMagic) : kBehind) {
    if (text.size() < m.offset + m.octets.size() || text[m.offset] != m.octets[0] ||
        !text.substr(m.offset).starts_with(m.octets))
      continue;
    // Two letters are weak: the header's length field must make sense too.
    if (m.octets == "BM" && (text.size() < 18 || text[6] != 0 || text[8] != 0)) continue;
    if ((m.octets == "WEBP" || m.octets == "WAVE" || m.octets == "AVI ") &&
        !text.starts_with("RIFF"))
      continue;
    return m.type;
  }
  std::string_view rest = text;
  if (rest.starts_with("\xef\xbb\xbf")) rest.remove_prefix(3);
  rest = trim(rest);
  if (!rest.starts_with('<')) return {};
  for (const Magic& m : kTexts) {
    if (starts_with_ignoring_case(rest, m.octets)) return m.type;
  }
  return {};
}

void TypeDetector::feed(Bytes octets) {
  if (seen_ < first_.size()) {
    const std::size_t take =
        std::min(octets.size(), first_.size() - static_cast<std::size_t>(seen_));
    std::copy_n(octets.data(), take, first_.data() + seen_);
  }
  constexpr std::string_view kMark = "CD001";
  if (seen_ < kIsoMark + kMark.size() && seen_ + octets.size() > kIsoMark) {
    for (std::size_t i = 0; i < octets.size(); ++i) {
      const std::uint64_t at = seen_ + i;
      if (at < kIsoMark || at >= kIsoMark + kMark.size()) continue;
      if (octets[i] == static_cast<std::uint8_t>(kMark[static_cast<std::size_t>(at - kIsoMark)]))
        ++iso_matched_;
    }
  }
  seen_ += octets.size();
}

std::string_view TypeDetector::type() const {
  if (iso_matched_ == 5) return "application/x-iso9660-image";
  return detect_type(Bytes(first_).first(std::min<std::size_t>(seen_, first_.size())));
}

}  // namespace sluice::mime
