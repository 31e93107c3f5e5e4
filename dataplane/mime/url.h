// URLs in text and links (RFC 3986, and the URL Standard where browsers differ from it, because the
// browser is what follows the link). Found while the text streams by; bounded; linear.
//
//   text: a scheme and "//", or "www.", begins a URL; a blank, quote, angle bracket or control ends
//   it, and so do the spaces, quotes, brackets and full stops beyond ASCII; trailing punctuation is
//   the sentence's. A URL inside another one (a redirector's argument, percent-encoded or not) is
//   found as well. host: entities, percent escapes, user information, backslashes, full-width and
//   international letters (to A-labels, UTS 46), and numbers written in odd bases are undone.
#pragma once

#include <array>
#include <cstdint>
#include <memory_resource>
#include <string>
#include <string_view>

#include "dataplane/base/bytes.h"
#include "dataplane/contract/anomalies.h"

namespace sluice::mime {

class UrlSink {
 public:
  virtual void on_found_url(std::string_view url, std::string_view host) = 0;
  virtual void on_url_anomaly(contract::Anomaly anomaly) = 0;

 protected:
  ~UrlSink() = default;
};

// The text of a URL as it grows, at most kCapacity octets. While its authority has not ended and
// room is short, octets from the middle are dropped: what names the host stands at the end of it
// (user information of any length comes first).
class UrlText {
 public:
  static constexpr std::size_t kCapacity = 8192;
  explicit UrlText(std::pmr::memory_resource* memory) : text_(memory) {}
  void push_back(char c) {
    if (text_.size() < kCapacity) [[likely]] {
      text_.push_back(c);
    } else {
      push_back_full(c);
    }
  }
  void append(std::string_view text) {
    if (text.size() <= kCapacity - text_.size()) [[likely]] {
      text_.append(text);
    } else {
      for (const char c : text) push_back(c);
    }
  }
  // Takes back the last `size` octets, which were put just now.
  void take_back(std::size_t size) { text_.resize(text_.size() - size); }
  void clear() { text_.clear(); }
  bool empty() const { return text_.empty(); }
  std::string_view view() const { return text_; }

 private:
  void push_back_full(char c);
  std::pmr::string text_;
};

// What a URL's authority says.
struct Host {
  std::pmr::string name;   // lower case, undone; empty when there is none
  std::pmr::string other;  // a second reading, when a backslash divides readers
  bool deceptive = false;  // the reader of the URL is led to see another host
  bool defanged = false;   // written so that it is no link
};

// Undoes "%41" at the end of `out`; whether there was any.
bool undo_percent(std::string_view text, std::pmr::string& out);

// `url` with its scheme and slashes, or "//host/...". Allocates from `memory`.
Host host_of(std::string_view url, std::pmr::memory_resource* memory);

class UrlFinder {
 public:
  UrlFinder(UrlSink& sink, std::pmr::memory_resource* memory);
  void feed(Bytes text);
  // The text ends or is interrupted: no URL goes across.
  void end();
  // The value of a link attribute.
  void link(std::string_view value);

 private:
  enum class State : std::uint8_t { idle, slashes, url, blanks };

  void idle(std::string_view& in);
  void plain(std::string_view& in);
  bool begin_scheme(std::string_view before);
  void begin_www(std::string_view before);
  void step(char c);
  void step_blanks(char c);
  bool step_wide();
  void finish_url();
  void report(std::string_view url, bool defanged_scheme);
  void report_inner(std::string_view url, int level);

  UrlSink& sink_;
  std::pmr::memory_resource* memory_;
  State state_ = State::idle;
  bool defanged_scheme_ = false;
  bool www_ = false;
  bool host_done_ = false;
  bool divided_ = false;  // a character in the host ends the URL to some readers
  char closer_ = 0;       // ends the URL as well: the partner of what stands before it
  std::uint8_t tail_size_ = 0;
  std::array<char, 12> tail_{};  // the last octets of the text before this call
  std::uint32_t blanks_ = 0;     // behind a URL that was a host alone
  UrlText url_;
};

}  // namespace sluice::mime
