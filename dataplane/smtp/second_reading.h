// Another reading of client octets: as commands, where the strict reading (or the one that the
// session expects) takes them for content, and as a tolerant server would take them. Two things are
// done with it while the octets pass: what it finds is given to the sink for scanning, and, within
// a bound, the octets are kept, so that they can be read again when the server's reply shows that
// this was the right reading. See README.md, "Two readings".
//
//   line ──DATA──► line_start ◄──CR, LF── text
//    ▲  └─BDAT n─► chunk       └─'.'─► dot ─CR, LF─► line
//    └──── n octets ──┘
#pragma once

#include <cstdint>
#include <memory_resource>
#include <string_view>

#include "dataplane/base/bytes.h"
#include "dataplane/smtp/command.h"
#include "dataplane/smtp/session.h"

namespace sluice::smtp {

// Reads commands, and messages between them, line by line where a line ends at CR, LF or both and
// NUL counts for nothing: every tolerance that some server has, at once.
class AlternateReader {
 public:
  struct Step {
    std::size_t accepted = 0;  // less than given only with `stop`
    bool stop = false;
  };

  // Asked at the end of a message, before its last octet is accepted.
  class EndJudge {
   public:
    virtual bool stops_at_ambiguous_end(TransactionId tx) = 0;

   protected:
    ~EndJudge() = default;
  };

  explicit AlternateReader(TransactionId outer) : outer_(outer) {}

  // As one that was just made.
  void begin_again(TransactionId outer);
  // The octets begin inside a chunk of this many.
  void begin_chunk(std::uint64_t size, bool last);
  // The octets begin where content does.
  void begin_content() { state_ = State::line_start; }
  // Reads on. Tells the sink what it finds only when `tell`; null `judge`: never stops.
  Step read(Bytes octets, SessionSink& sink, std::uint64_t chunk_limit, bool tell, EndJudge* judge);

  // MAIL or RCPT with an address was among the lines.
  bool found_envelope() const { return found_envelope_; }
  // No line was anything else than a command.
  bool only_commands() const { return only_commands_; }
  bool in_chunk() const { return state_ == State::chunk; }
  // In the middle of a line that may be a command.
  bool in_line() const { return state_ == State::line && line_size_ > 0; }
  // Octets to the end of the chunk that is being read.
  std::uint64_t chunk_left() const { return chunk_left_; }

 private:
  enum class State : std::uint8_t { line, line_start, text, dot, chunk };

  void read_line(SessionSink& sink, std::uint64_t chunk_limit, bool tell);

  std::uint64_t chunk_left_ = 0;
  TransactionId outer_;
  State state_ = State::line;
  bool chunk_last_ = false;
  bool skip_lf_ = false;  // a command line ended by CR: an LF behind it belongs to it
  bool found_envelope_ = false;
  bool only_commands_ = true;
  bool told_envelope_ = false;
  bool begun_ = false;  // a message whose content was told
  std::uint16_t line_size_ = 0;
  std::uint16_t mailbox_size_ = 0;
  char line_[512];     // RFC 5321 4.5.3.1.4; the rest of a longer one is not read, nor more blanks
  char mailbox_[256];  // RFC 5321 4.5.3.1.3
};

struct SecondReading {
  enum class Reason : std::uint8_t {
    early,      // behind DATA, before its reply
    chunk,      // a BDAT chunk for a server that does not offer CHUNKING
    tls_wait,   // behind STARTTLS, before its reply
    midstream,  // the first octets of a stream picked up in the middle
    ambiguous,  // behind an ambiguous end-of-data
    between,    // content behind a DATA between chunks, if its server takes it after all
    tolerated,  // a BDAT with a malformed argument that tolerant servers take for a chunk's size
  };

  SecondReading(Reason why, TransactionId of) : tx(of), reason(why), reader(of) {}
  // Keeps a copy, as long as there are no more than `limit` octets in all; else none.
  void keep(Bytes octets, std::uint32_t limit, std::pmr::memory_resource* memory);
  // Gives the copy up: too much, or octets are missing.
  void lose(std::pmr::memory_resource* memory);
  Bytes kept() const { return {data, size}; }
  // Whether nothing but line ends came behind another ambiguous end, the last.
  bool at_later_end() const;
  // As one that was just made, in the memory that it has.
  void begin_again(TransactionId of);

  static SecondReading* create(Reason reason, TransactionId tx, std::pmr::memory_resource* memory);
  static void destroy(SecondReading* reading, std::pmr::memory_resource* memory);

  SecondReading* next = nullptr;
  std::uint8_t* data = nullptr;
  std::uint32_t size = 0;
  std::uint32_t capacity = 0;
  TransactionId tx;
  Reason reason;
  std::uint32_t later_end = 0;  // ambiguous: octets kept up to the last end that is one too
  bool closed = false;    // the expected reading came to the end of what both read differently
  bool lost = false;      // more octets than are kept
  bool after_cr = false;  // begins behind a CR: CRs and an LF that follow belong to the line before
  bool answered = false;  // passed by: the end of its message has had its reply
  ChunkSize chunk;        // tolerated: that the octets begin with
  AlternateReader reader;
};

}  // namespace sluice::smtp
