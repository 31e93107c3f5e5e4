#include "dataplane/mime/address.h"

#include <algorithm>

#include "dataplane/mime/encoded_word.h"
#include "dataplane/mime/text.h"

namespace sluice::mime {
namespace {

class AddressReader {
 public:
  AddressReader(std::string_view raw, std::size_t limit, MailboxSink& sink,
                std::pmr::memory_resource* memory)
      : raw_(raw),
        left_(limit),
        sink_(sink),
        phrase_(memory),
        comment_(memory),
        address_(memory),
        group_(memory),
        name_(memory) {}

  bool read() {
    for (at_ = 0; at_ < raw_.size() && !full_; ++at_) {
      const char c = raw_[at_];
      if (c == '(') {
        comment();
      } else if (in_angle_) {
        angle(c);
      } else {
        outside(c);
      }
    }
    end_element();
    return !full_;
  }

 private:
  void outside(char c) {
    switch (c) {
      case '"':
        quoted(phrase_, false);
        break;
      case '<':
        // A second address without a comma before it.
        if (had_angle_) end_element();
        in_angle_ = true;
        had_angle_ = true;
        address_.clear();
        break;
      case ',':
        end_element();
        break;
      case ';':
        end_element();
        group_.clear();
        break;
      case ':':
        if (had_angle_ || phrase_.find('@') != std::pmr::string::npos || !group_.empty()) {
          phrase_.push_back(c);
          break;
        }
        decode_into(phrase_, group_);
        if (group_.empty()) group_ = "undisclosed";
        phrase_.clear();
        comment_.clear();
        break;
      default:
        if (had_angle_ && !is_space(c) && phrase_after_angle_ && c != '>') {
          // Text after the brackets: a next element that lost its comma.
          end_element();
        }
        phrase_.push_back(c);
    }
  }

  void angle(char c) {
    if (c == '>') {
      in_angle_ = false;
      phrase_after_angle_ = true;
    } else if (c == '"') {
      quoted(address_, true);
    } else if (c == '<') {
      address_.clear();
    } else if ((c == ',' || c == ';') && address_.find('@') != std::pmr::string::npos &&
               address_[0] != '@') {
      // Never closed.
      in_angle_ = false;
      end_element();
    } else if (!is_space(c)) {
      address_.push_back(c);
    }
  }

  // From the opening quote to the closing one, or the end.
  void quoted(std::pmr::string& out, bool keep_quotes) {
    // A quote that is never closed is a character.
    if (closing_quote_ < at_ + 1) {
      closing_quote_ = at_ + 1;
      while (closing_quote_ < raw_.size() && raw_[closing_quote_] != '"') {
        closing_quote_ += raw_[closing_quote_] == '\\' ? 2u : 1u;
      }
    }
    if (closing_quote_ >= raw_.size()) {
      closing_quote_ = raw_.size();
      return;
    }
    if (keep_quotes) out.push_back('"');
    // A quoted local part outside of brackets keeps its quotes: "a b"@x.test.
    const bool local = closing_quote_ + 1 < raw_.size() && raw_[closing_quote_ + 1] == '@';
    if (local && !keep_quotes) out.push_back('"');
    for (++at_; at_ < closing_quote_; ++at_) {
      if (raw_[at_] == '\\' && at_ + 1 < closing_quote_ && !keep_quotes) ++at_;
      out.push_back(raw_[at_]);
    }
    if (keep_quotes || local) out.push_back('"');
    at_ = closing_quote_;
  }

  // From the opening parenthesis to its partner, or the end.
  void comment() {
    std::size_t depth = 1;
    if (!comment_.empty()) comment_.push_back(' ');
    for (++at_; at_ < raw_.size(); ++at_) {
      const char c = raw_[at_];
      if (c == '\\' && at_ + 1 < raw_.size()) {
        comment_.push_back(raw_[++at_]);
        continue;
      }
      if (c == '(') ++depth;
      if (c == ')' && --depth == 0) return;
      comment_.push_back(c);
    }
  }

  static void decode_into(std::string_view raw, std::pmr::string& out) {
    out.clear();
    std::pmr::string buffer(out.get_allocator());
    const std::string_view decoded = decode_words(trim(raw), buffer);
    // Blanks of folds become one.
    bool blank = false;
    for (const char c : trim(decoded)) {
      if (is_space(c)) {
        blank = true;
        continue;
      }
      if (blank) out.push_back(' ');
      blank = false;
      out.push_back(c);
    }
  }

  void end_element() {
    std::string_view phrase = trim(phrase_);
    const std::string_view comment = trim(comment_);
    std::string_view address = address_;
    if (!had_angle_ && phrase.find('@') != std::string_view::npos) {
      // No brackets: the word with the at sign, the rest is its name.
      const std::size_t at = phrase.rfind('@');
      std::size_t begin = at;
      if (begin > 0 && phrase[begin - 1] == '"') {
        begin = phrase.rfind('"', begin - 2);
        if (begin == std::string_view::npos) begin = 0;
      } else {
        while (begin > 0 && !is_space(phrase[begin - 1])) --begin;
      }
      std::size_t end = at;
      while (end < phrase.size() && !is_space(phrase[end])) ++end;
      address = phrase.substr(begin, end - begin);
      phrase = trim(begin > 0 ? phrase.substr(0, begin) : phrase.substr(end));
    }
    // The route of RFC 822: @a,@b:user@c.
    if (address.starts_with('@')) {
      const std::size_t colon = address.find(':');
      if (colon != std::string_view::npos) address = address.substr(colon + 1);
    }
    if (!address.empty() || !phrase.empty() || !comment.empty()) {
      if (left_ == 0) {
        full_ = true;
        return;
      }
      --left_;
      decode_into(phrase.empty() ? comment : phrase, name_);
      if (!phrase.empty() && !comment.empty()) {
        std::pmr::string decoded(name_.get_allocator());
        decode_into(comment, decoded);
        name_.append(" (").append(decoded).append(")");
      }
      sink_.on_mailbox({name_, address, group_});
    }
    phrase_.clear();
    comment_.clear();
    address_.clear();
    in_angle_ = false;
    had_angle_ = false;
    phrase_after_angle_ = false;
  }

  std::string_view raw_;
  std::size_t at_ = 0;
  std::size_t left_;
  std::size_t closing_quote_ = 0;  // the next one that was looked for
  MailboxSink& sink_;
  bool in_angle_ = false;
  bool had_angle_ = false;
  bool phrase_after_angle_ = false;
  bool full_ = false;
  std::pmr::string phrase_;
  std::pmr::string comment_;
  std::pmr::string address_;
  std::pmr::string group_;
  std::pmr::string name_;
};

}  // namespace

bool parse_addresses(std::string_view raw, std::size_t limit, MailboxSink& sink,
                     std::pmr::memory_resource* memory) {
  return AddressReader(raw, limit, sink, memory).read();
}

void append_mailbox(const Mailbox& mailbox, std::pmr::string& out) {
  if (mailbox.name.empty()) {
    out.append(mailbox.address);
    return;
  }
  const bool quotes = mailbox.name.find_first_of("\",;<>@:\\()[]") != std::string_view::npos;
  if (quotes) out.push_back('"');
  for (const char c : mailbox.name) {
    if (quotes && (c == '"' || c == '\\')) out.push_back('\\');
    out.push_back(c);
  }
  if (quotes) out.push_back('"');
  if (!mailbox.address.empty()) out.append(" <").append(mailbox.address).append(">");
}

}  // namespace sluice::mime
