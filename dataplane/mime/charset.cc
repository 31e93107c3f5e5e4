#include "dataplane/mime/charset.h"

#include <unicode/ucnv.h>
#include <unicode/ucnv_cb.h>

#include <algorithm>
#include <array>
#include <utility>

#include "dataplane/mime/charset_labels.h"
#include "dataplane/mime/find_octet.h"
#include "dataplane/mime/text.h"

namespace sluice::mime {
namespace {

// Windows-1252, which is what mail labelled ISO-8859-1 holds in practice (and the Encoding Standard
// says so); its five holes stay C1 controls.
constexpr std::uint16_t kWindows1252[32] = {
    0x20ac, 0x0081, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
    0x2039, 0x0152, 0x008d, 0x017d, 0x008f, 0x0090, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0x009d, 0x017e, 0x0178};

std::uint32_t latin_code(std::uint8_t c) {
  return c >= 0x80 && c < 0xa0 ? kWindows1252[c - 0x80] : c;
}

const std::uint8_t* skip_ascii(const std::uint8_t* p, const std::uint8_t* end) {
  return reinterpret_cast<const std::uint8_t*>(
      find_non_ascii(reinterpret_cast<const char*>(p), reinterpret_cast<const char*>(end)));
}

// How far `p` is a valid start of a multi-octet sequence (Unicode 15, table 3-7): its length when
// it is complete, 0 when it is no sequence, -1 when it is one as far as it goes.
int utf8_sequence(const std::uint8_t* p, std::size_t size) {
  const std::uint8_t lead = p[0];
  int length;
  std::uint8_t low = 0x80;
  std::uint8_t high = 0xbf;
  if (lead >= 0xc2 && lead <= 0xdf) {
    length = 2;
  } else if (lead >= 0xe0 && lead <= 0xef) {
    length = 3;
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    length = 4;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
  } else {
    return 0;
  }
  for (int i = 1; i < length; ++i) {
    if (static_cast<std::size_t>(i) >= size) return -1;
    if (p[i] < low || p[i] > high) return 0;
    low = 0x80;
    high = 0xbf;
  }
  return length;
}

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> list) {
  return std::any_of(list.begin(), list.end(),
                     [&](std::string_view s) { return equals_ignoring_case(name, s); });
}

static_assert(std::is_sorted(std::begin(kCharsetLabels), std::end(kCharsetLabels),
                             [](const CharsetLabel& a, const CharsetLabel& b) {
                               return a.label < b.label;
                             }));

// The encoding that the Encoding Standard gives the label, or the label itself.
std::string_view encoding_of_label(std::string_view label) {
  std::array<char, 24> name;
  std::string_view given = label;
  std::size_t size = 0;
  // "win-1251", as some programs write it.
  if (starts_with_ignoring_case(given, "win-")) {
    given.remove_prefix(4);
    size = std::string_view("windows-").copy(name.data(), name.size());
  }
  if (given.size() > name.size() - size) return label;
  std::transform(given.begin(), given.end(), name.begin() + size, lower);
  const std::string_view wanted(name.data(), size + given.size());
  const auto* const found =
      std::lower_bound(std::begin(kCharsetLabels), std::end(kCharsetLabels), wanted,
                       [](const CharsetLabel& l, std::string_view w) { return l.label < w; });
  return found != std::end(kCharsetLabels) && found->label == wanted ? found->encoding : label;
}

// Charsets whose octets below 0x80 are ASCII whatever stands around them at a character's start.
bool is_ascii_superset(std::string_view name) {
  for (const std::string_view prefix :
       {"iso-8859", "iso8859", "windows-", "cp125", "koi8", "gb2312", "gbk", "gb18030", "big5",
        "euc-", "shift_jis", "shift-jis", "sjis", "x-sjis", "ks_c", "tis-620", "mac", "x-mac",
        "ibm866"}) {
    if (starts_with_ignoring_case(name, prefix)) return true;
  }
  return false;
}

class StringSink final : public OctetSink {
 public:
  explicit StringSink(std::pmr::string& out) : out_(out) {}
  void take(Bytes octets) override { out_.append(as_text(octets)); }

 private:
  std::pmr::string& out_;
};

// Called by ICU for octets that are not of the charset: substitutes, and says that it did.
void count_and_substitute(const void* context, UConverterToUnicodeArgs* args, const char*,
                          std::int32_t, UConverterCallbackReason reason, UErrorCode* error) {
  if (reason > UCNV_IRREGULAR) return;
  if (reason == UCNV_IRREGULAR) {
    // An escape sequence that nothing follows (ISO 2022): text is often joined of such pieces.
    *error = U_ZERO_ERROR;
    return;
  }
  *static_cast<bool*>(const_cast<void*>(context)) = true;
  *error = U_ZERO_ERROR;
  ucnv_cbToUWriteSub(args, 0, error);
}

// Small pieces in one: each costs those behind as much as a hundred octets do.
class Gathered final : public OctetSink {
 public:
  explicit Gathered(OctetSink& out) : out_(out) {}
  void take(Bytes octets) override {
    constexpr std::size_t kSmall = 64;
    if (octets.size() > kSmall || octets.size() > octets_.size() - size_) finish();
    if (octets.size() > kSmall) return out_.take(octets);
    std::copy(octets.begin(), octets.end(), octets_.data() + size_);
    size_ += octets.size();
  }
  void finish() {
    if (size_ > 0) out_.take(Bytes(octets_).first(std::exchange(size_, 0)));
  }

 private:
  OctetSink& out_;
  std::array<std::uint8_t, 512> octets_;
  std::size_t size_ = 0;
};

}  // namespace

std::size_t encode_utf8(std::uint32_t code, std::uint8_t* out) {
  if (code < 0x80) {
    out[0] = static_cast<std::uint8_t>(code);
    return 1;
  }
  if (code < 0x800) {
    out[0] = static_cast<std::uint8_t>(0xc0 | code >> 6);
    out[1] = static_cast<std::uint8_t>(0x80 | (code & 0x3f));
    return 2;
  }
  if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) code = 0xfffd;
  if (code < 0x10000) {
    out[0] = static_cast<std::uint8_t>(0xe0 | code >> 12);
    out[1] = static_cast<std::uint8_t>(0x80 | (code >> 6 & 0x3f));
    out[2] = static_cast<std::uint8_t>(0x80 | (code & 0x3f));
    return 3;
  }
  out[0] = static_cast<std::uint8_t>(0xf0 | code >> 18);
  out[1] = static_cast<std::uint8_t>(0x80 | (code >> 12 & 0x3f));
  out[2] = static_cast<std::uint8_t>(0x80 | (code >> 6 & 0x3f));
  out[3] = static_cast<std::uint8_t>(0x80 | (code & 0x3f));
  return 4;
}

void append_code_point(std::uint32_t code, std::pmr::string& out) {
  std::uint8_t octets[4];
  const std::size_t size = encode_utf8(code, octets);
  out.append(reinterpret_cast<const char*>(octets), size);
}

bool append_utf8(std::string_view charset, Bytes in, std::pmr::string& out) {
  StringSink sink(out);
  CharsetDecoder decoder(charset);
  decoder.feed(in, sink);
  decoder.finish(sink);
  return !decoder.unknown();
}

CharsetDecoder::CharsetDecoder(std::string_view charset, bool opposite) : opposite_(opposite) {
  charset = trim(charset);
  if (equals_ignoring_case(charset, "utf-8")) {
    strict_ = true;
    return;
  }
  const bool ascii = is_one_of(charset, {"us-ascii", "ascii", "ansi_x3.4-1968", "unknown-8bit",
                                         "x-unknown", "8bit", "7bit", "binary"});
  if (charset.empty() || ascii) return;
  charset = encoding_of_label(charset);
  if (is_one_of(charset, {"utf-8", "cp65001"})) {
    strict_ = true;
    return;
  }
  if (is_one_of(charset, {"windows-1252", "cp-1252", "iso-8859-1-windows-3.1-latin-1"})) {
    kind_ = Kind::latin1;
    return;
  }
  if (is_one_of(charset, {"utf-16", "utf16"})) {
    kind_ = Kind::utf16;
    mute_ = opposite;  // until it is known that the order is not
    return;
  }
  if (is_one_of(charset, {"utf-16le", "utf16le", "utf-16-le"})) {
    kind_ = Kind::utf16_le;
    return;
  }
  if (is_one_of(charset, {"utf-16be", "utf16be", "utf-16-be"})) {
    kind_ = Kind::utf16_be;
    return;
  }
  const bool plain =
      charset.size() < kLongestName && std::all_of(charset.begin(), charset.end(), [](char c) {
        return is_alnum(c) || c == '-' || c == '_' || c == '.' || c == ':';
      });
  if (plain) {
    std::copy(charset.begin(), charset.end(), hold_.begin());
    UErrorCode error = U_ZERO_ERROR;
    // Only names of ICU's alias table: no other name is looked for, on disk least of all.
    if (ucnv_countAliases(name(), &error) > 0 && U_SUCCESS(error)) {
      kind_ = Kind::icu;
      lazy_ = is_ascii_superset(charset);
      return;
    }
  }
  unknown_ = true;
}

CharsetDecoder::~CharsetDecoder() {
  if (converter_ != nullptr) ucnv_close(converter_);
}

void CharsetDecoder::feed(Bytes in, OctetSink& out) {
  switch (kind_) {
    case Kind::utf8:
      return feed_utf8(in, out);
    case Kind::latin1:
      return feed_latin1(in, out);
    case Kind::utf16:
    case Kind::utf16_le:
    case Kind::utf16_be:
      return feed_utf16(in, out);
    case Kind::icu:
      return feed_icu(in, false, out);
  }
}

void CharsetDecoder::invalid(std::uint8_t octet, OctetSink& out) {
  std::uint8_t utf8[4];
  if (strict_) malformed_ = true;
  const std::size_t size = encode_utf8(strict_ ? 0xfffd : latin_code(octet), utf8);
  out.take({utf8, size});
}

void CharsetDecoder::feed_utf8(Bytes in, OctetSink& out) {
  // The start of a sequence that a cut divided: at most three octets.
  while (held_ != 0 && !in.empty()) {
    hold_[held_++] = in[0];
    in = in.subspan(1);
    while (held_ != 0) {
      const int length = hold_[0] < 0x80 ? 1 : utf8_sequence(hold_.data(), held_);
      if (length < 0) break;
      const auto used = static_cast<std::uint8_t>(length > 0 ? length : 1);
      if (length > 0) {
        out.take({hold_.data(), used});
      } else {
        invalid(hold_[0], out);
      }
      held_ = static_cast<std::uint8_t>(held_ - used);
      std::memmove(hold_.data(), hold_.data() + used, held_);
    }
  }
  const std::uint8_t* p = in.data();
  const std::uint8_t* const end = p + in.size();
  const std::uint8_t* run = p;
  Gathered pieces(out);
  while (p < end) {
    p = skip_ascii(p, end);
    if (p == end) break;
    wide_ = true;
    const int length = utf8_sequence(p, static_cast<std::size_t>(end - p));
    if (length > 0) {
      p += length;
      continue;
    }
    pieces.take({run, p});
    if (length < 0) {
      held_ = static_cast<std::uint8_t>(end - p);
      std::memcpy(hold_.data(), p, held_);
      run = p = end;
      break;
    }
    invalid(*p++, pieces);
    run = p;
  }
  pieces.take({run, p});
  pieces.finish();
}

void CharsetDecoder::feed_latin1(Bytes in, OctetSink& out) {
  const std::uint8_t* p = in.data();
  const std::uint8_t* const end = p + in.size();
  std::uint8_t buffer[768];
  while (p < end) {
    const std::uint8_t* const run = p;
    p = skip_ascii(p, end);
    if (p > run) out.take({run, p});
    std::size_t size = 0;
    // Up to the next long stretch of ASCII in one piece.
    while (p < end && size + 3 <= sizeof buffer && (*p >= 0x80 || (end - p > 1 && p[1] >= 0x80))) {
      size += encode_utf8(latin_code(*p++), buffer + size);
    }
    if (size == 0) continue;
    wide_ = true;
    out.take({buffer, size});
  }
}

void CharsetDecoder::decide_order() {
  const std::size_t units = held_ / 2u;
  bool little = false;
  if (units > 0 && hold_[0] == 0xff && hold_[1] == 0xfe) {
    little = true;
  } else if (units > 0 && hold_[0] == 0xfe && hold_[1] == 0xff) {
    little = false;
  } else {
    // RFC 2781 4.3 says big-endian, most software writes little-endian: the side of the zeros of
    // ASCII text tells.
    std::size_t zeros[2] = {0, 0};
    for (std::size_t i = 0; i < units * 2; ++i) zeros[i & 1] += hold_[i] == 0 ? 1u : 0u;
    little = zeros[1] > zeros[0];
    if (opposite_) {
      little = !little;
      mute_ = false;
    }
  }
  kind_ = little ? Kind::utf16_le : Kind::utf16_be;
}

void CharsetDecoder::feed_utf16(Bytes in, OctetSink& out) {
  if (kind_ == Kind::utf16) {
    const std::size_t take = std::min(in.size(), hold_.size() - held_);
    std::memcpy(hold_.data() + held_, in.data(), take);
    held_ = static_cast<std::uint8_t>(held_ + take);
    in = in.subspan(take);
    if (held_ < hold_.size()) return;
    decide_order();
    const auto probe = hold_;
    held_ = 0;
    feed_utf16(Bytes(probe), out);
  }
  if (mute_) return;
  std::uint8_t buffer[1024];
  std::size_t size = 0;
  const bool little = kind_ == Kind::utf16_le;
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (held_ == 0) {
      hold_[0] = in[i];
      held_ = 1;
      continue;
    }
    held_ = 0;
    const auto unit =
        static_cast<std::uint16_t>(little ? in[i] << 8 | hold_[0] : hold_[0] << 8 | in[i]);
    if (size + 8 > sizeof buffer) {
      out.take({buffer, size});
      size = 0;
    }
    const bool first = !started_;
    started_ = true;
    if (first && unit == 0xfeff) continue;
    if (high_ != 0) {
      const std::uint32_t high = high_;
      high_ = 0;
      if (unit >= 0xdc00 && unit < 0xe000) {
        size += encode_utf8(0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00u), buffer + size);
        continue;
      }
      malformed_ = true;
      size += encode_utf8(0xfffd, buffer + size);
    }
    if (unit >= 0xd800 && unit < 0xdc00) {
      high_ = unit;
    } else {
      if (unit >= 0xdc00 && unit < 0xe000) malformed_ = true;
      size += encode_utf8(unit, buffer + size);
    }
  }
  if (size > 0) out.take({buffer, size});
}

void CharsetDecoder::feed_icu(Bytes in, bool flush, OctetSink& out) {
  if (converter_ == nullptr) {
    if (lazy_) {
      const std::uint8_t* const stop = skip_ascii(in.data(), in.data() + in.size());
      const auto plain = static_cast<std::size_t>(stop - in.data());
      if (plain > 0) out.take(in.first(plain));
      in = in.subspan(plain);
    }
    if (in.empty()) return;
    UErrorCode error = U_ZERO_ERROR;
    converter_ = ucnv_open(name(), &error);
    if (converter_ != nullptr && U_SUCCESS(error)) {
      ucnv_setToUCallBack(converter_, count_and_substitute, &malformed_, nullptr, nullptr, &error);
    }
    if (converter_ == nullptr || U_FAILURE(error)) {
      if (converter_ != nullptr) ucnv_close(converter_);
      converter_ = nullptr;
      kind_ = Kind::utf8;
      unknown_ = true;
      return feed_utf8(in, out);
    }
  }
  const char* source = reinterpret_cast<const char*>(in.data());
  const char* const source_end = source + in.size();
  for (;;) {
    UChar units[512];
    UChar* target = units;
    UErrorCode error = U_ZERO_ERROR;
    ucnv_toUnicode(converter_, &target, units + std::size(units), &source, source_end, nullptr,
                   static_cast<UBool>(flush), &error);
    std::uint8_t buffer[std::size(units) * 3 + 8];
    std::size_t size = 0;
    for (const UChar* u = units; u < target; ++u) {
      // NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign): ICU wrote up to `target`.
      const std::uint16_t unit = *u;
      if (high_ != 0) {
        const std::uint32_t high = high_;
        high_ = 0;
        if (unit >= 0xdc00 && unit < 0xe000) {
          size += encode_utf8(0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00u), buffer + size);
          continue;
        }
        size += encode_utf8(0xfffd, buffer + size);
      }
      if (unit >= 0xd800 && unit < 0xdc00) {
        high_ = unit;
      } else {
        size += encode_utf8(unit, buffer + size);
      }
    }
    if (size > 0) out.take({buffer, size});
    if (error == U_BUFFER_OVERFLOW_ERROR) continue;
    if (U_FAILURE(error)) {
      // Nothing that the callback could repair: go on after what was consumed.
      malformed_ = true;
      ucnv_resetToUnicode(converter_);
      if (source < source_end) continue;
    }
    return;
  }
}

void CharsetDecoder::finish(OctetSink& out) {
  switch (kind_) {
    case Kind::utf8: {
      const std::size_t size = held_;
      held_ = 0;
      for (std::size_t i = 0; i < size; ++i) invalid(hold_[i], out);
      break;
    }
    case Kind::latin1:
      break;
    case Kind::utf16: {
      decide_order();
      const auto probe = hold_;
      const std::size_t size = held_;
      held_ = 0;
      feed_utf16(Bytes(probe).first(size), out);
      [[fallthrough]];
    }
    case Kind::utf16_le:
    case Kind::utf16_be:
      if ((held_ != 0 || high_ != 0) && !mute_) {
        malformed_ = true;
        std::uint8_t utf8[4];
        out.take({utf8, encode_utf8(0xfffd, utf8)});
      }
      held_ = 0;
      high_ = 0;
      break;
    case Kind::icu:
      if (converter_ != nullptr) feed_icu({}, true, out);
      break;
  }
}

}  // namespace sluice::mime
