#include "dataplane/mime/transfer.h"

#include <algorithm>
#include <array>
#include <bit>

#include "dataplane/mime/find_octet.h"
#include "dataplane/mime/text.h"

#if defined(__SSE4_1__)
#include <smmintrin.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace sluice::mime {
namespace {

constexpr std::uint8_t kJunk = 0xff;
constexpr std::uint8_t kSpace = 0xfe;
constexpr std::uint8_t kPad = 0xfd;

constexpr std::array<std::uint8_t, 256> make_base64_values() {
  std::array<std::uint8_t, 256> t{};
  t.fill(kJunk);
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (std::size_t i = 0; i < kAlphabet.size(); ++i)
    t[static_cast<std::uint8_t>(kAlphabet[i])] = static_cast<std::uint8_t>(i);
  for (const char c : {' ', '\t', '\r', '\n'}) t[static_cast<std::uint8_t>(c)] = kSpace;
  t['='] = kPad;
  return t;
}
constexpr auto kBase64 = make_base64_values();

// Values already shifted to their place of the group; an invalid character sets a bit above it.
constexpr std::uint32_t kInvalid = 0x80000000;
constexpr std::array<std::uint32_t, 256> make_shifted(int shift) {
  std::array<std::uint32_t, 256> t{};
  for (std::size_t i = 0; i < 256; ++i)
    t[i] = kBase64[i] < 64 ? std::uint32_t{kBase64[i]} << shift : kInvalid;
  return t;
}
constexpr auto kFirst = make_shifted(18);
constexpr auto kSecond = make_shifted(12);
constexpr auto kThird = make_shifted(6);
constexpr auto kFourth = make_shifted(0);

#if defined(__SSE4_1__)
// Of a character's lower and higher half: bits that both have make it none of the alphabet; what to
// add to it, by its higher half ('/' apart); and where the octets of four groups are.
alignas(16) constexpr std::int8_t kLowClass[] = {0x15, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11,
                                                 0x11, 0x11, 0x13, 0x1a, 0x1b, 0x1b, 0x1b, 0x1a};
alignas(16) constexpr std::int8_t kHighClass[] = {0x10, 0x10, 0x01, 0x02, 0x04, 0x08, 0x04, 0x08,
                                                  0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10};
alignas(16) constexpr std::int8_t kOffsets[] = {0, 16, 19, 4, -65, -65, -71, -71,
                                                0, 0,  0,  0, 0,   0,   0,   0};
alignas(16) constexpr std::int8_t kOrder[] = {2, 1,  0,  6,  5,  4,  10, 9,
                                              8, 14, 13, 12, -1, -1, -1, -1};

// Sixteen characters to twelve octets (Muła, Lemire: Faster Base64 Encoding and Decoding Using AVX2
// Instructions, 2018): how many of them, in whole groups of four, stand before the first outside
// the alphabet. Writes sixteen octets, of which those of these groups count.
inline unsigned decode16(const std::uint8_t* p, std::uint8_t* out) {
  const __m128i in = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m128i high = _mm_and_si128(_mm_srli_epi32(in, 4), _mm_set1_epi8(0x0f));
  const __m128i low = _mm_and_si128(in, _mm_set1_epi8(0x0f));
  const __m128i low_class = _mm_load_si128(reinterpret_cast<const __m128i*>(kLowClass));
  const __m128i high_class = _mm_load_si128(reinterpret_cast<const __m128i*>(kHighClass));
  const __m128i offsets = _mm_load_si128(reinterpret_cast<const __m128i*>(kOffsets));
  const __m128i bad =
      _mm_and_si128(_mm_shuffle_epi8(low_class, low), _mm_shuffle_epi8(high_class, high));
  const __m128i is_slash = _mm_cmpeq_epi8(in, _mm_set1_epi8('/'));
  const __m128i values = _mm_add_epi8(in, _mm_shuffle_epi8(offsets, _mm_add_epi8(is_slash, high)));
  const __m128i pairs = _mm_maddubs_epi16(values, _mm_set1_epi32(0x01400140));
  const __m128i groups = _mm_madd_epi16(pairs, _mm_set1_epi32(0x00011000));
  const __m128i order = _mm_load_si128(reinterpret_cast<const __m128i*>(kOrder));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_shuffle_epi8(groups, order));
  if (_mm_testz_si128(bad, bad)) [[likely]]
    return 16;
  const auto good =
      static_cast<unsigned>(_mm_movemask_epi8(_mm_cmpeq_epi8(bad, _mm_setzero_si128())));
  return static_cast<unsigned>(std::countr_one(good)) & ~3u;
}
#endif

#if defined(__x86_64__)
[[gnu::target("avx2")]] inline __m256i twice(const std::int8_t* half) {
  return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(half)));
}

// As decode16(), thirty-two characters to twenty-four octets, of which thirty-two are written;
// whether all are of the alphabet.
[[gnu::target("avx2")]] inline bool decode32(const std::uint8_t* p, std::uint8_t* out) {
  const __m256i in = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const __m256i high = _mm256_and_si256(_mm256_srli_epi32(in, 4), _mm256_set1_epi8(0x0f));
  const __m256i low = _mm256_and_si256(in, _mm256_set1_epi8(0x0f));
  const __m256i low_bits = _mm256_shuffle_epi8(twice(kLowClass), low);
  const __m256i high_bits = _mm256_shuffle_epi8(twice(kHighClass), high);
  const __m256i is_slash = _mm256_cmpeq_epi8(in, _mm256_set1_epi8('/'));
  const __m256i offsets = _mm256_shuffle_epi8(twice(kOffsets), _mm256_add_epi8(is_slash, high));
  const __m256i values = _mm256_add_epi8(in, offsets);
  const __m256i pairs = _mm256_maddubs_epi16(values, _mm256_set1_epi32(0x01400140));
  const __m256i groups = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x00011000));
  const __m256i halves = _mm256_shuffle_epi8(groups, twice(kOrder));
  _mm256_storeu_si256(
      reinterpret_cast<__m256i*>(out),
      _mm256_permutevar8x32_epi32(halves, _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7)));
  return _mm256_testz_si256(low_bits, high_bits) != 0;
}

// Lines of `size` characters, a multiple of four, 32 to 128: no octet of one must be decoded to
// know where the next begins, so that the CPU decodes several at a time.
[[gnu::target("avx2")]] inline void decode_alike32(const std::uint8_t*& p, const std::uint8_t* end,
                                                   std::uint8_t*& out, std::size_t size) {
  const std::size_t last = size - 32;
  while (end - p >= 130) {
    bool good = true;  // each writes over what is too much of the one before
    for (std::size_t at = 0; at < last; at += 32) good &= decode32(p + at, out + at / 4 * 3);
    good &= decode32(p + last, out + last / 4 * 3);
    if (!good || p[size] != '\r' || p[size + 1] != '\n') return;
    p += size + 2;
    out += size / 4 * 3;
  }
}

struct alignas(64) Octets64 {
  std::array<std::uint8_t, 64> octets{};
};
// The values of half of ASCII, with the highest bit for what is none.
constexpr Octets64 make_half(std::size_t first) {
  Octets64 half;
  for (std::size_t i = 0; i < half.octets.size(); ++i)
    half.octets[i] = kBase64[first + i] < 64 ? kBase64[first + i] : 0x80;
  return half;
}
constexpr Octets64 kLowHalf = make_half(0);
constexpr Octets64 kHighHalf = make_half(64);
// Of sixteen groups of four octets the three that count, in the order of the text.
constexpr Octets64 kPacked = [] {
  Octets64 packed;
  for (std::size_t i = 0; i < 48; ++i)
    packed.octets[i] = static_cast<std::uint8_t>(i / 3 * 4 + 2 - i % 3);
  return packed;
}();

// Sixty-four characters to forty-eight octets, of which sixty-four are written; the mask of those
// outside the alphabet.
[[gnu::target("avx512f,avx512bw,avx512vbmi")]] inline std::uint64_t decode64(const std::uint8_t* p,
                                                                             std::uint8_t* out) {
  const __m512i in = _mm512_loadu_si512(p);
  const __m512i values = _mm512_permutex2var_epi8(_mm512_load_si512(kLowHalf.octets.data()), in,
                                                  _mm512_load_si512(kHighHalf.octets.data()));
  const std::uint64_t bad = _mm512_movepi8_mask(_mm512_or_si512(values, in));
  const __m512i pairs = _mm512_maddubs_epi16(values, _mm512_set1_epi32(0x01400140));
  const __m512i groups = _mm512_madd_epi16(pairs, _mm512_set1_epi32(0x00011000));
  constexpr __mmask64 kKept = (std::uint64_t{1} << 48) - 1;
  _mm512_storeu_si512(
      out, _mm512_maskz_permutexvar_epi8(kKept, _mm512_load_si512(kPacked.octets.data()), groups));
  return bad;
}

// As decode_alike32(), also briefer lines.
[[gnu::target("avx512f,avx512bw,avx512vbmi")]] inline void decode_alike(const std::uint8_t*& p,
                                                                        const std::uint8_t* end,
                                                                        std::uint8_t*& out,
                                                                        std::size_t size) {
  const std::size_t second = size > 64 ? size - 64 : 0;
  const std::uint64_t wanted = size < 64 ? (std::uint64_t{1} << size) - 1 : ~std::uint64_t{0};
  while (end - p >= 130) {
    std::uint64_t bad = decode64(p, out);
    if (second > 0) bad |= decode64(p + second, out + second / 4 * 3);
    if ((bad & wanted) != 0 || p[size] != '\r' || p[size + 1] != '\n') return;
    p += size + 2;
    out += size / 4 * 3;
  }
}

// Lines of the alphabet, as long as sixty-four octets can be read, up to what is not usual.
[[gnu::target("avx512f,avx512bw,avx512vbmi")]] inline void decode_lines64(const std::uint8_t*& p,
                                                                          const std::uint8_t* end,
                                                                          std::uint8_t*& out) {
  // `out` has room for as many octets as are left to read, and four characters make three.
  const std::uint8_t* line = nullptr;
  while (end - p >= 64) {
    const unsigned taken = static_cast<unsigned>(std::countr_zero(decode64(p, out))) & ~3u;
    p += taken;
    out += taken / 4 * 3;
    if (taken == 64) continue;
    if (p[0] != '\r' || p[1] != '\n') return;
    // Most lines are as long as the one before.
    const std::size_t size = line != nullptr ? static_cast<std::size_t>(p - line) : 0;
    p += 2;
    if (size > 0 && size <= 128) decode_alike(p, end, out, size);
    line = p;
  }
}
#endif

int hex_value(std::uint8_t c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

bool is_blank(std::uint8_t c) { return c == ' ' || c == '\t'; }

}  // namespace

Encoding encoding_of(std::string_view token, bool& known) {
  token = first_token(token);
  known = true;
  if (equals_ignoring_case(token, "base64")) return Encoding::base64;
  if (equals_ignoring_case(token, "quoted-printable")) return Encoding::quoted_printable;
  for (const std::string_view name : {"x-uuencode", "x-uue", "uuencode", "x-uu", "uue"}) {
    if (equals_ignoring_case(token, name)) return Encoding::uuencode;
  }
  for (const std::string_view name : {"7bit", "8bit", "binary", "7-bit", "8-bit", ""}) {
    if (equals_ignoring_case(token, name)) return Encoding::identity;
  }
  known = false;
  return Encoding::identity;
}

Encoding encoding_hinted(std::string_view value, bool& leads) {
  // Letters and digits alone, comments left out: what a tolerant reader may make of it.
  std::array<char, 128> kept{};
  std::size_t size = 0;
  int depth = 0;
  for (const char c : value) {
    if (c == '(') ++depth;
    if (c == ')' && depth > 0) --depth;
    if (depth == 0 && is_alnum(c) && size < kept.size()) kept[size++] = lower(c);
  }
  const std::string_view text(kept.data(), size);
  struct Hint {
    std::string_view word;
    Encoding encoding;
  };
  for (const Hint& h : {Hint{"base64", Encoding::base64},
                        {"b64", Encoding::base64},
                        {"mime64", Encoding::base64},
                        {"quotedprintable", Encoding::quoted_printable},
                        {"uue", Encoding::uuencode}}) {
    const std::size_t at = text.find(h.word);
    if (at == std::string_view::npos) continue;
    leads = at == 0;
    return h.encoding;
  }
  return Encoding::identity;
}

std::size_t Base64Decoder::decode(Bytes in, std::uint8_t* out) {
  std::uint8_t* const begin = out;
  const std::uint8_t* p = in.data();
  const std::uint8_t* const end = p + in.size();
  while (p < end) {
    if (count_ == 0 && pads_ == 0) {
      const std::uint8_t* const start = p;
#if defined(__x86_64__)
      if (wide_ && !ended_) decode_lines64(p, end, out);
#endif
#if defined(__SSE4_1__)
      // `out` has in.size() + 16 octets and four characters make three: the wide store stays in.
      const std::uint8_t* line = nullptr;
      while (end - p >= 16) {
        const unsigned taken = decode16(p, out);
        p += taken;
        out += taken / 4 * 3;
        if (taken == 16) continue;
        // The usual line ends with a whole group.
        if (ended_ || p[0] != '\r' || p[1] != '\n') break;
        if (line != nullptr) line_ = p - line <= 128 ? static_cast<std::uint8_t>(p - line) : 0;
        p += 2;
        if (vectors_ && line_ >= 32) decode_alike32(p, end, out, line_);
        line = p;
      }
#endif
      while (end - p >= 4) {
        const std::uint32_t group = kFirst[p[0]] | kSecond[p[1]] | kThird[p[2]] | kFourth[p[3]];
        if (group & kInvalid) break;
        out[0] = static_cast<std::uint8_t>(group >> 16);
        out[1] = static_cast<std::uint8_t>(group >> 8);
        out[2] = static_cast<std::uint8_t>(group);
        p += 4;
        out += 3;
      }
      if (p != start && ended_) malformed_ = true;
      if (p == end) break;
    }
    const std::uint8_t value = kBase64[*p++];
    if (value < 64) {
      if (pads_ != 0 || ended_) malformed_ = true;
      pads_ = 0;
      bits_ = bits_ << 6 | value;
      if (++count_ == 4) {
        out[0] = static_cast<std::uint8_t>(bits_ >> 16);
        out[1] = static_cast<std::uint8_t>(bits_ >> 8);
        out[2] = static_cast<std::uint8_t>(bits_);
        out += 3;
        count_ = 0;
        bits_ = 0;
      }
    } else if (value == kPad) {
      if (count_ < 2) {
        malformed_ = true;
      } else if (count_ + ++pads_ >= 4) {
        out += finish(out);
        ended_ = true;
      }
    } else if (value == kJunk) {
      malformed_ = true;
    }
  }
  return static_cast<std::size_t>(out - begin);
}

std::size_t Base64Decoder::finish(std::uint8_t* out) {
  std::size_t size = 0;
  if (count_ == 1) malformed_ = true;
  if (count_ >= 2) {
    if (count_ + pads_ < 4) malformed_ = true;
    const std::uint32_t bits = bits_ << (6 * (4 - count_));
    out[size++] = static_cast<std::uint8_t>(bits >> 16);
    if (count_ == 3) out[size++] = static_cast<std::uint8_t>(bits >> 8);
  }
  count_ = 0;
  pads_ = 0;
  bits_ = 0;
  return size;
}

std::uint8_t* QuotedPrintableDecoder::flush(std::uint8_t* out) {
  for (std::size_t i = 0; i < held_; ++i) *out++ = tabs_[i] ? '\t' : ' ';
  held_ = 0;
  return out;
}

std::uint8_t* QuotedPrintableDecoder::step(std::uint8_t c, std::uint8_t* out) {
  switch (state_) {
    case State::text:
      if (c == '=') {
        state_ = State::equals;
      } else if (is_blank(c)) {
        hold(c);
        state_ = State::blanks;
      } else if (c == '\r') {
        state_ = State::blanks_cr;
      } else {
        *out++ = c;
      }
      return out;
    case State::blanks:
      if (is_blank(c)) {
        // More blanks than any encoder leaves: they are text.
        if (held_ == kHold) out = flush(out);
        hold(c);
        return out;
      }
      if (c == '\r') {
        state_ = State::blanks_cr;
        return out;
      }
      state_ = State::text;
      if (c == '\n') {
        held_ = 0;  // RFC 2045 6.7 (3): blanks before a line end were added on the way
        *out++ = c;
        return out;
      }
      return step(c, flush(out));
    case State::blanks_cr:
      state_ = State::text;
      if (c == '\n') {
        held_ = 0;
        *out++ = '\r';
        *out++ = '\n';
        return out;
      }
      out = flush(out);
      *out++ = '\r';
      return step(c, out);
    case State::equals:
      if (hex_value(c) >= 0) {
        digit_ = c;
        state_ = State::equals_hex;
      } else if (is_blank(c)) {
        hold(c);
        state_ = State::equals_blanks;
      } else if (c == '\r') {
        state_ = State::equals_cr;
      } else if (c == '\n') {
        state_ = State::text;
      } else {
        malformed_ = true;
        *out++ = '=';
        state_ = State::text;
        return step(c, out);
      }
      return out;
    case State::equals_hex:
      state_ = State::text;
      if (hex_value(c) >= 0) {
        *out++ = static_cast<std::uint8_t>(hex_value(digit_) << 4 | hex_value(c));
        return out;
      }
      malformed_ = true;
      *out++ = '=';
      *out++ = digit_;
      return step(c, out);
    case State::equals_blanks:
      if (is_blank(c) && held_ < kHold) {
        hold(c);
        return out;
      }
      if (c == '\r') {
        state_ = State::equals_cr;
        return out;
      }
      state_ = State::text;
      if (c == '\n') {
        held_ = 0;
        return out;
      }
      malformed_ = true;
      *out++ = '=';
      return step(c, flush(out));
    case State::equals_cr:
      // A CR alone ends the line to most mail programs, and so does one more of them.
      if (c == '\r') return out;
      state_ = State::text;
      held_ = 0;
      if (c == '\n') return out;
      malformed_ = true;
      return step(c, out);
  }
  return out;
}

std::size_t QuotedPrintableDecoder::decode(Bytes in, std::uint8_t* out) {
  std::uint8_t* const begin = out;
  const char* p = as_text(in).data();
  const char* const end = p + in.size();
  while (p < end) {
    if (state_ != State::text) {
      out = step(static_cast<std::uint8_t>(*p++), out);
      continue;
    }
    // Literal octets up to an escape or a line end are copied whole, and the blanks at their end
    // treated as step() would: at most kHold of them are not text yet.
    const char* const stop = find_octet<'=', '\r', '\n'>(p, end);
    const char* text_end = stop;
    if (stop == end || *stop != '=') {
      while (text_end > p && is_blank(static_cast<std::uint8_t>(text_end[-1]))) --text_end;
      const auto blanks = static_cast<std::size_t>(stop - text_end);
      if (blanks > 0) text_end = stop - ((blanks - 1) % kHold + 1);
    }
    std::memcpy(out, p, static_cast<std::size_t>(text_end - p));
    out += text_end - p;
    const auto held = static_cast<std::size_t>(stop - text_end);
    p = stop;
    if (held > 0) {
      for (const char* blank = text_end; blank < stop; ++blank)
        hold(static_cast<std::uint8_t>(*blank));
      state_ = State::blanks;
    }
    if (p == end) break;
    if (*p == '=' && end - p >= 3) {
      const int high = hex_value(static_cast<std::uint8_t>(p[1]));
      const int low = hex_value(static_cast<std::uint8_t>(p[2]));
      if (high >= 0 && low >= 0) {
        *out++ = static_cast<std::uint8_t>(high << 4 | low);
        p += 3;
        continue;
      }
      if (p[1] == '\r' && p[2] == '\n') {
        p += 3;
        continue;
      }
    }
    out = step(static_cast<std::uint8_t>(*p++), out);
  }
  return static_cast<std::size_t>(out - begin);
}

std::size_t QuotedPrintableDecoder::finish(std::uint8_t* out) {
  std::uint8_t* const begin = out;
  switch (state_) {
    case State::text:
    case State::blanks:  // blanks before the end, as before a line end
    case State::equals:  // a soft line break whose line end became the boundary's
    case State::equals_blanks:
    case State::equals_cr:
      break;
    case State::blanks_cr:
      out = flush(out);
      *out++ = '\r';
      break;
    case State::equals_hex:
      malformed_ = true;
      *out++ = '=';
      *out++ = digit_;
      break;
  }
  held_ = 0;
  state_ = State::text;
  return static_cast<std::size_t>(out - begin);
}

std::size_t uudecode_line(std::string_view line, std::uint8_t* out) {
  if (line.empty()) return 0;
  const auto value = [&](std::size_t i) -> std::uint32_t {
    return i < line.size() ? (static_cast<std::uint32_t>(line[i]) - 32) & 63 : 0;
  };
  const std::size_t size = value(0);
  for (std::size_t i = 0, at = 1; i < size; i += 3, at += 4) {
    const std::uint32_t group =
        value(at) << 18 | value(at + 1) << 12 | value(at + 2) << 6 | value(at + 3);
    out[i] = static_cast<std::uint8_t>(group >> 16);
    out[i + 1] = static_cast<std::uint8_t>(group >> 8);
    out[i + 2] = static_cast<std::uint8_t>(group);
  }
  return size;
}

bool is_uuencoded_line(std::string_view line, bool strict) {
  if (line.empty()) return false;
  if (!std::all_of(line.begin(), line.end(), [](char c) { return c >= 0x20 && c <= 0x60; })) {
    return false;
  }
  const std::size_t size = (static_cast<std::uint32_t>(line[0]) - 32) & 63;
  const std::size_t needed = (size + 2) / 3 * 4;
  const std::size_t present = line.size() - 1;
  if (size == 0) return present <= 1;
  // One checksum character may follow; trailing blanks may have been stripped on the way, and some
  // encoders leave out what a short last group does not need.
  if (present > needed + 2) return false;
  return !strict || present + 4 >= needed;
}

std::string_view uu_begin_name(std::string_view line) {
  if (!line.starts_with("begin ")) return {};
  line.remove_prefix(6);
  std::size_t digits = 0;
  while (digits < line.size() && line[digits] >= '0' && line[digits] <= '7') ++digits;
  if (digits < 3 || digits > 4 || digits >= line.size() || line[digits] != ' ') return {};
  return trim(line.substr(digits));
}

std::size_t UuDecoder::line(std::string_view text, std::uint8_t* out) {
  if (!inside_) {
    const std::string_view name = uu_begin_name(text);
    inside_ = !name.empty();
    name_size_ = static_cast<std::uint16_t>(name.copy(name_.data(), name_.size()));
    return 0;
  }
  if (trim(text) == "end") {
    inside_ = false;
    return 0;
  }
  if (!is_uuencoded_line(text, false)) {
    if (!trim(text).empty()) malformed_ = true;
    return 0;
  }
  return uudecode_line(text, out);
}

std::size_t UuDecoder::decode(Bytes in, std::uint8_t* out) {
  std::size_t written = 0;
  while (!in.empty()) {
    const auto lf = std::find(in.begin(), in.end(), std::uint8_t{'\n'});
    const auto part = static_cast<std::size_t>(lf - in.begin());
    const std::size_t take = std::min(part, line_.size() - length_);
    std::memcpy(line_.data() + length_, in.data(), take);
    length_ = static_cast<std::uint16_t>(length_ + take);
    if (lf == in.end()) break;
    in = in.subspan(part + 1);
    std::string_view text(line_.data(), length_);
    length_ = 0;
    if (text.ends_with('\r')) text.remove_suffix(1);
    written += line(text, out + written);
  }
  return written;
}

std::size_t UuDecoder::finish(std::uint8_t* out) {
  std::string_view text(line_.data(), length_);
  length_ = 0;
  if (text.ends_with('\r')) text.remove_suffix(1);
  return line(text, out);
}

TransferDecoder::TransferDecoder(Encoding encoding, std::pmr::memory_resource* memory)
    : encoding_(encoding) {
  if (encoding == Encoding::quoted_printable) decoder_.emplace<QuotedPrintableDecoder>();
  if (encoding == Encoding::uuencode) decoder_ = make_pmr<UuDecoder>(memory);
}

Bytes TransferDecoder::piece(Bytes in) const {
  if (encoding_ != Encoding::uuencode) return in.first(std::min<std::size_t>(in.size(), 4096));
  const Bytes within = in.first(std::min<std::size_t>(in.size(), 128));
  const auto lf = std::find(within.begin(), within.end(), std::uint8_t{'\n'});
  return lf == within.end() ? within
                            : within.first(static_cast<std::size_t>(lf - within.begin()) + 1);
}

std::string_view TransferDecoder::take_file_name() {
  if (encoding_ != Encoding::uuencode) return {};
  return std::get<PmrPtr<UuDecoder>>(decoder_)->take_name();
}

std::size_t TransferDecoder::decode(Bytes in, std::uint8_t* out) {
  switch (encoding_) {
    case Encoding::identity:
      break;
    case Encoding::base64:
      return std::get<Base64Decoder>(decoder_).decode(in, out);
    case Encoding::quoted_printable:
      return std::get<QuotedPrintableDecoder>(decoder_).decode(in, out);
    case Encoding::uuencode:
      return std::get<PmrPtr<UuDecoder>>(decoder_)->decode(in, out);
  }
  std::memcpy(out, in.data(), in.size());
  return in.size();
}

std::size_t TransferDecoder::finish(std::uint8_t* out) {
  switch (encoding_) {
    case Encoding::identity:
      return 0;
    case Encoding::base64:
      return std::get<Base64Decoder>(decoder_).finish(out);
    case Encoding::quoted_printable:
      return std::get<QuotedPrintableDecoder>(decoder_).finish(out);
    case Encoding::uuencode:
      return std::get<PmrPtr<UuDecoder>>(decoder_)->finish(out);
  }
  return 0;
}

bool TransferDecoder::malformed() const {
  if (const auto* uu = std::get_if<PmrPtr<UuDecoder>>(&decoder_)) return (*uu)->malformed();
  if (const auto* quoted = std::get_if<QuotedPrintableDecoder>(&decoder_))
    return quoted->malformed();
  return std::get<Base64Decoder>(decoder_).malformed();
}

}  // namespace sluice::mime
