#include "dataplane/mime/encoded_word.h"

#include <algorithm>

#include "dataplane/mime/charset.h"
#include "dataplane/mime/find_octet.h"
#include "dataplane/mime/text.h"
#include "dataplane/mime/transfer.h"

namespace sluice::mime {
namespace {

constexpr std::size_t kMaxCharset = 60;

struct Word {
  std::string_view charset;
  char encoding = 0;
  std::string_view text;
  std::size_t size = 0;  // of the whole word
};

// The word that begins at `s` ("=?"), size 0 when it is none.
Word word_at(std::string_view s) {
  Word w;
  const std::size_t first = s.find('?', 2);
  if (first == std::string_view::npos || first - 2 > kMaxCharset || first == 2) return w;
  w.charset = s.substr(2, first - 2);
  if (w.charset.find_first_of(" \t\r\n=") != std::string_view::npos) return w;
  w.charset = w.charset.substr(0, w.charset.find('*'));
  if (first + 2 >= s.size() || s[first + 2] != '?') return w;
  w.encoding = lower(s[first + 1]);
  if (w.encoding != 'q' && w.encoding != 'b') return w;
  const std::size_t begin = first + 3;
  // The text of Q may hold '?' in broken words, but the end is "?=" in all of them. "=?q?=41?=" :
  // an escape right after the mark is no end.
  const std::size_t end = s.find("?=", begin);
  if (end == std::string_view::npos) return w;
  w.text = s.substr(begin, end - begin);
  w.size = end + 2;
  return w;
}

bool has_states(std::string_view charset) {
  return starts_with_ignoring_case(charset, "iso-2022-") ||
         starts_with_ignoring_case(charset, "hz") || starts_with_ignoring_case(charset, "utf-7");
}

void append_text(const Word& w, std::pmr::string& bytes) {
  if (w.encoding == 'b') {
    Base64Decoder decoder;
    const std::size_t before = bytes.size();
    bytes.resize(before + w.text.size() + Base64Decoder::kSlack);
    auto* const out = reinterpret_cast<std::uint8_t*>(bytes.data() + before);
    std::size_t size = decoder.decode(as_bytes(w.text), out);
    size += decoder.finish(out + size);
    bytes.resize(before + size);
    return;
  }
  for (std::size_t i = 0; i < w.text.size(); ++i) {
    const char c = w.text[i];
    if (c == '_') {
      bytes.push_back(' ');
    } else if (c == '=' && i + 2 < w.text.size() && hex_digit(w.text[i + 1]) >= 0 &&
               hex_digit(w.text[i + 2]) >= 0) {
      bytes.push_back(static_cast<char>(hex_digit(w.text[i + 1]) << 4 | hex_digit(w.text[i + 2])));
      i += 2;
    } else {
      bytes.push_back(c);
    }
  }
}

}  // namespace

std::string_view decode_words(std::string_view raw, std::pmr::string& buffer) {
  if (raw.find('?') == std::string_view::npos) {
    const char* const end = raw.data() + raw.size();
    if (find_non_ascii(raw.data(), end) == end) return raw;
    buffer.clear();
    append_raw_text(raw, buffer);
    return buffer;
  }
  buffer.clear();
  std::pmr::string bytes(buffer.get_allocator());  // of adjacent words in one charset
  std::string_view charset;
  bool pending = false;
  const auto flush = [&] {
    if (pending) append_utf8(charset, as_bytes(bytes), buffer);
    bytes.clear();
    pending = false;
  };
  std::size_t text = 0;  // where text that is no word began
  std::size_t at = 0;
  // Once no "?=" follows there is no word any more: looking again at each "=?" would be quadratic.
  const std::size_t last_end = raw.rfind("?=");
  while (last_end != std::string_view::npos && at < last_end) {
    at = raw.find("=?", at);
    if (at == std::string_view::npos || at > last_end) break;
    const Word w = word_at(raw.substr(at));
    if (w.size == 0) {
      at += 2;
      continue;
    }
    const std::string_view between = raw.substr(text, at - text);
    const bool blank = std::all_of(between.begin(), between.end(), is_space);
    if (!pending || !blank) {
      flush();
      append_raw_text(between, buffer);
    }
    // Characters divided between words are joined, but not the shift states of charsets that have
    // them: each word begins and ends in ASCII (RFC 2047 2, 5).
    if (pending && (!equals_ignoring_case(charset, w.charset) || has_states(charset))) flush();
    charset = w.charset;
    pending = true;
    append_text(w, bytes);
    at += w.size;
    text = at;
  }
  flush();
  append_raw_text(raw.substr(text), buffer);
  return buffer;
}

}  // namespace sluice::mime
