// One message as SpamAssassin's rules see it: what their buffers, header selectors and native
// functions ask for. Filled while the message comes in; whole when it has ended.
#pragma once

#include <array>
#include <cstdint>
#include <memory_resource>
#include <optional>
#include <string_view>
#include <vector>

#include "dataplane/scan/spam_rules.h"
#include "dataplane/spam/html_text.h"
#include "dataplane/spam/message_parts.h"
#include "dataplane/spam/relays.h"
#include "dataplane/spam/uris.h"

namespace sluice::spam {

// What is kept of raw lines and decoded parts for the native functions.
struct MimeFacts {
  std::uint64_t qp_octets = 0;
  std::uint64_t qp_escapes = 0;
  std::uint64_t normal_characters = 0;
  std::uint64_t unicode_characters = 0;
  std::uint64_t ascii_text_illegal = 0;
  std::uint64_t html_count = 0;
  std::uint64_t text_count = 0;
  std::uint64_t base64_count = 0;
  std::uint64_t qp_count = 0;
  std::uint64_t attachments = 0;
  bool qp_long_line = false;
  bool base64_encoded_text = false;
  bool bad_iso_charset = false;
  bool multipart_alternative = false;
};

struct RenderedPart {
  std::uint32_t part = 0;
  bool html = false;
  bool has_image = false;
  std::string_view text;  // of parts that are compared; valid as long as the scan
};

struct Image {
  explicit Image(std::pmr::memory_resource* a) : name(a) {}
  Image(Image&&) = default;
  enum class Type : std::uint8_t { gif, png, jpeg };
  Type type = Type::gif;
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  String name;
};

// A header selector ("Subject:raw", "From:addr", "ALL", "X-Spam-Relays-External") and what finds
// its values; of a literal it is known when compiling.
struct Selector {
  // NOLINTNEXTLINE(google-explicit-constructor)
  consteval Selector(const char* literal) : Selector(std::string_view(literal)) {}
  explicit constexpr Selector(std::string_view text)
      : Selector(text, scan::FieldNames::of_selector(text), scan::FieldNames::hash(text)) {}
  constexpr Selector(std::string_view text, std::uint64_t of_field, std::uint64_t of_name)
      : name(text), field(of_field), hash(of_name) {}

  std::string_view name;
  std::uint64_t field;  // scan::FieldNames::of_selector()
  std::uint64_t hash;   // scan::FieldNames::hash()
};

// A copy of `text` in `memory`, which frees nothing while it is used.
std::string_view keep(std::string_view text, std::pmr::memory_resource* memory);

class View {
 public:
  View(const scan::SpamRules& rules, scan::RegexScratch& scratch, const FlowFacts& flow,
       std::pmr::memory_resource* memory);

  // The values of a selector, in order; none when there is no such field. Only when the header and
  // the relays are whole; read once, valid as long as the view.
  const Texts& values(const Selector& selector) const;
  // Them as one text, as a regex sees it; nothing when there is none. `buffer` may hold it.
  std::optional<std::string_view> joined(const Selector& selector, String& buffer) const;
  // The first address or the whole text: what SpamAssassin's functions get. Valid as the values.
  std::string_view get(const Selector& selector) const;
  bool has(const Selector& selector) const { return !values(selector).empty(); }
  // The header is whole: whether it certainly lacks a field (scan/field_names.h).
  bool lacks(std::uint64_t field) const { return (names_ ? *names_ : read_names()).lacks(field); }
  // In lower case, of all fields that name a sender, each once.
  const Strings& from_addresses() const;
  std::optional<std::string_view> envelope_from() const;

  // What several native functions ask for, read once.
  struct Notes {
    explicit Notes(std::pmr::memory_resource* a) : freemail(a) {}
    std::optional<double> date_difference;
    std::optional<bool> gated;
    std::optional<double> uppercase;  // percent; -1: cannot be said
    std::optional<double> vertical;   // percent of blanks, of the paragraph with most
    std::optional<std::array<double, 3>> alternatives;
    std::optional<String> received;                           // the Received fields, squeezed
    std::optional<std::pmr::vector<std::string_view>> hosts;  // of URLs
    std::optional<Strings> body_freemails;
    bool useful_freemails = false;
    std::pmr::vector<std::pair<String, bool>> freemail;  // addresses, and what they are
  };
  Notes& notes() const { return notes_; }

  bool find(const scan::Regex& regex, std::string_view text, scan::Regex::Match* m = nullptr,
            std::size_t from = 0) const {
    return regex.find(text, scratch, m, from);
  }

  const scan::SpamRules& rules;
  scan::RegexScratch& scratch;
  std::pmr::memory_resource* memory;
  FlowFacts flow;
  const MessageParts* parts = nullptr;
  Relays relays;
  std::pmr::vector<HtmlFacts> htmls;
  std::pmr::vector<RenderedPart> rendered;
  std::pmr::vector<Image> images;
  MimeFacts mime;
  UriList uris;
  TextBuffer body;                          // the paragraphs, the subject first
  std::pmr::vector<std::size_t> body_ends;  // where each paragraph of `body` ends
  std::uint64_t decoded_lines = 0;
  std::uint64_t blank_lines = 0;
  std::uint64_t plain_body_length = 0;  // of the first text/plain part
  std::uint64_t plain_signature_length = 0;
  bool has_plain_body = false;
  std::uint64_t now = 0;  // seconds since the epoch; 0: not known

  std::string_view paragraph(std::size_t i) const {
    const std::size_t begin = i == 0 ? 0 : body_ends[i - 1];
    return body.view().substr(begin, body_ends[i] - begin);
  }

 private:
  // What was read of one selector.
  struct Entry {
    Entry(const Selector& of, std::pmr::memory_resource* memory)
        : selector(of), name(keep(of.name, memory)), values(memory), all(memory) {}
    Selector selector;
    std::string_view name;
    Texts values;
    String all;             // of several values: them all
    Entry* next = nullptr;  // in the same place of the table
  };

  Entry& entry(const Selector& selector) const;
  const scan::FieldNames& read_names() const;
  void read_values(std::string_view selector, Texts& out) const;
  void received_range(std::string_view selector, Texts& out) const;

  static constexpr std::size_t kPlaces = 64;
  mutable std::array<Entry*, kPlaces> entries_{};  // in the memory of the view, which frees nothing
  mutable std::optional<scan::FieldNames> names_;
  mutable std::optional<Strings> from_addresses_;
  mutable Notes notes_;
};

void prepare_view();

}  // namespace sluice::spam
