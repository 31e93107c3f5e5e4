// Message octets behind DATA: dot-stuffing undone (RFC 5321 4.5.2) and the end found. Only
// CRLF.CRLF is the end; every other line that some server takes for one is told as ambiguous.
//
//                 ┌───────── other ─────────────────────────────────────────────────────┐
//   text ──CR──► cr ──LF──► line_start ──'.'──► dot ──CR──► dot_cr ──LF──► END           │
//    │            │            │                 │             └─ other ─► AMBIGUOUS ────┤
//    LF (bare)  other         NUL                ├─ LF ─► AMBIGUOUS ─► lenient_start     │
//    ▼            ▼            ▼                 └─ NUL ─► lenient_dot                   │
//   lenient_start ◄────────────┘── NUL ─► itself                                        │
//    └──'.'──► lenient_dot ──CR or LF──► AMBIGUOUS          (other: text) ◄──────────────┘
//
// `dot` and `dot_cr` are held back (at most these two octets): the dot may be a stuffed one. Of
// CRLF.CR that is no end it is told that it is ambiguous before it is passed on. All
// other octets are passed on at once, as views, in as few calls as there are stuffed dots.
#pragma once

#include <cstdint>

#include "dataplane/base/bytes.h"
#include "dataplane/smtp/session.h"

namespace sluice::smtp {

class DataReader {
 public:
  enum class Event : std::uint8_t { none, ambiguous, end };
  struct Step {
    std::size_t consumed = 0;
    Event event = Event::none;
    // Octets at the end of those consumed that belong to the end-of-data line, from its dot on (or
    // from the first of the given octets when the dot came before).
    std::size_t tail = 0;
  };

  // At the first octet of a message, which stands at a line start.
  void start();
  // Octets are missing: what follows is taken for the middle of a line.
  void skip();
  // Octets that hold no end went by unread; `last` are the last two of them.
  void go_on_behind(const std::uint8_t (&last)[2]);
  // Whether no octet of what may be an end line is held back.
  bool between_ends() const { return state_ < State::dot; }
  // Reads up to an event or to the end of `octets`, giving the content to `sink`.
  Step read(Bytes octets, TransactionId tx, SessionSink& sink);
  // CRLF.CR was read: a server that ends lines at CR has the whole message by now.
  bool at_possible_end() const { return state_ == State::dot_cr; }
  bool after_cr() const { return state_ == State::cr; }
  // What read() said to be the end is none: the end line is content.
  void not_the_end(TransactionId tx, SessionSink& sink);
  // Octets of the held-back end line that lay in the span last read.
  std::size_t held_tail() const { return held_tail_; }

  // The machine alone, for readings in which some octets are left out.
  enum class State : std::uint8_t {
    text,
    cr,
    line_start,
    lenient_start,
    dot,
    dot_cr,
    lenient_dot,
  };
  State state() const { return state_; }
  static Event advance(State& state, std::uint8_t octet);

  bool bare_lf() const { return bare_lf_; }
  bool bare_cr() const { return bare_cr_; }

 private:
  State state_ = State::line_start;
  bool bare_lf_ = false;
  bool bare_cr_ = false;
  bool ambiguous_told_ = false;  // of the CRLF.CR in hand, which is not yet passed on
  std::uint8_t held_tail_ = 0;
};

}  // namespace sluice::smtp
