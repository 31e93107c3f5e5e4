#include "dataplane/mime/line_joiner.h"

namespace sluice::mime {

// What an octet in the middle of text begins.
LineJoiner::State LineJoiner::after_text(std::uint8_t octet) {
  if (kind_ == Kind::folded) {
    if (octet == '\r') return State::cr;
    if (octet != '\n') return State::text;
    with_cr_ = false;
    return State::line_end;
  }
  if (octet == '\n') {
    position_ = dashes_ = 0;
    quoted_ = false;
    return State::text;
  }
  const bool flows = !quoted_ && !(dashes_ == 2 && position_ == 2);
  if (position_ == 0) quoted_ = octet == '>';
  if (octet == '-' && dashes_ == position_ && dashes_ < 3) ++dashes_;
  if (position_ < 3) ++position_;
  return octet == ' ' && flows ? State::blank : State::text;
}

void LineJoiner::release(OctetSink& out) {
  static constexpr std::uint8_t kBlankCr[] = {' ', '\r'};
  static constexpr std::uint8_t kLineEnd[] = {'\r', '\n'};
  const State held = state_;
  state_ = State::text;
  switch (held) {
    case State::text:
      break;
    case State::blank:
      out.take(Bytes(kBlankCr).first(1));
      break;
    case State::blank_cr:
      out.take(kBlankCr);
      break;
    case State::cr:
      out.take(Bytes(kLineEnd).first(1));
      break;
    case State::line_end:
      out.take(with_cr_ ? Bytes(kLineEnd) : Bytes(kLineEnd).subspan(1));
      break;
  }
}

void LineJoiner::feed(Bytes octets, OctetSink& out) {
  std::size_t from = 0;  // first that is not yet passed on
  for (std::size_t i = 0; i < octets.size(); ++i) {
    const std::uint8_t c = octets[i];
    if (state_ == State::text) {
      state_ = after_text(c);
      if (state_ == State::text) continue;
      if (i > from) out.take(octets.subspan(from, i - from));
      from = i + 1;
      continue;
    }
    from = i + 1;
    if (state_ == State::blank && c == '\r') {
      state_ = State::blank_cr;
    } else if ((state_ == State::blank || state_ == State::blank_cr) && c == '\n') {
      state_ = State::text;
    } else if (state_ == State::cr && c == '\n') {
      with_cr_ = true;
      state_ = State::line_end;
    } else if (state_ == State::line_end && (c == ' ' || c == '\t')) {
      state_ = State::text;
    } else {
      release(out);
      from = i--;  // once more, as text
    }
  }
  if (from < octets.size()) out.take(octets.subspan(from));
}

void LineJoiner::finish(OctetSink& out) { release(out); }

}  // namespace sluice::mime
