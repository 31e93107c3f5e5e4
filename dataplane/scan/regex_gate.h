// Says of a text that a regex certainly does not match in it, in time linear in the text: a
// backtracking matcher that tries long lists of ways from each place is asked only about the rest.
//
// Theory. The compiler makes a regex into a program for a nondeterministic machine (Thompson), at
// times of a superset: look-around, references and high counts are left out. The program is run as
// a deterministic machine whose states are sets of instructions, made when they are first needed
// (as in RE2's and grep's lazy DFA), so that an octet costs one look into a table. Assertions about
// what follows stay in a set until the next octet is known. Making states is bounded in each call;
// beyond that the answer is "maybe".
//
// Where matches begin rarely (scan/regex_starts.h) the machine is run from these places alone: then
// hardly any states are needed, and most of a text is not looked at octet by octet. What takes more
// than a few turns of the text so is run once for matches that begin anywhere. Where all matches
// have some rare octets inside ("[A-Z]{16}"), these are looked for first.
//
// A RegexGate is immutable; states are in its worker's GateScratch, which all gates share and
// which is emptied when it is full. Answers do not depend on what is in there, but for "maybe".
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "dataplane/base/result.h"
#include "dataplane/scan/regex_starts.h"

namespace sluice::scan {

// Wire format: append, never renumber. An instruction is two words: `operation << 24 | operand`,
// and the instruction that follows.
enum class GateOperation : std::uint8_t {
  octets,       // one octet of set `operand`
  split,        // goes on at `operand` and at the next
  text_begins,  // \A
  line_begins,  // ^ with /m
  ends,         // $: at the end or before a line end, a superset
  text_ends,    // \z
  word_edge,    // \b
  no_word_edge,
  accept,
};
constexpr std::uint32_t gate_word(GateOperation operation, std::uint32_t operand = 0) {
  return static_cast<std::uint32_t>(operation) << 24 | operand;
}
inline constexpr std::size_t kMostGateInstructions = 16384;
inline constexpr std::size_t kGateSetOctets = 32;  // of a set: a bit an octet, lowest first

class RegexGate;

// One worker's states of all gates.
class GateScratch {
 public:
  // `gates`: how many there are; no memory is touched before states are made.
  void reserve(std::size_t gates);

 private:
  friend class RegexGate;
  static constexpr std::size_t kArena = std::size_t{2} << 20;  // words
  static constexpr std::size_t kBuckets = std::size_t{1} << 16;
  // What precedes the row of a state: see RegexGate.
  static constexpr std::uint32_t kHeader = 6;

  // A set of instructions that is emptied at once.
  struct Sparse {
    std::vector<std::uint32_t> dense;
    std::vector<std::uint32_t> where;
    bool insert(std::uint32_t instruction);
    void clear() { dense.clear(); }
  };
  void flush();

  std::unique_ptr<std::uint32_t[]> arena_;
  std::size_t used_ = 0;
  std::vector<std::uint32_t> buckets_;  // first state of each
  // Of each gate: where nothing began before, by kind; then the twins of these.
  std::vector<std::array<std::uint32_t, 8>> starts_;
  std::uint32_t flushes_ = 0;
  std::size_t budget_ = 0;
  Sparse visited_;
  std::vector<std::uint32_t> kept_;
  std::vector<std::uint32_t> next_;
  std::vector<std::uint32_t> mine_;
  std::vector<std::uint32_t> stack_;
};

class alignas(64) RegexGate {
 public:
  // Checks the program. `number`: its own, below what the scratch was reserved for.
  static Result<RegexGate> load(std::span<const std::uint32_t> program,
                                std::span<const std::uint8_t> sets, std::uint32_t number);

  static constexpr std::size_t npos = std::string_view::npos;
  // No match in `text` begins from `from` on before this place; npos: none does as far as `to`.
  std::size_t first(std::string_view text, std::size_t from, std::uint32_t to,
                    GateScratch& scratch) const;
  bool may_match(std::string_view text, std::size_t from, std::uint32_t to,
                 GateScratch& scratch) const {
    return first(text, from, to, scratch) != npos;
  }
  // Whether places where no match begins are mostly passed at once.
  bool passes() const { return starts_.useful() || looks_inside(); }
  // Whether octets inside of matches are looked for first.
  bool looks_inside() const { return inside_ != nullptr; }

 private:
  // What stands before a place, as far as the program asks.
  enum Kind : std::uint8_t { begin, newline, word, other };
  // Instead of a state.
  static constexpr std::uint32_t kUnknown = 0;
  static constexpr std::uint32_t kMatch = 1;
  static constexpr std::uint32_t kDead = 2;
  static constexpr std::uint32_t kGiveUp = 3;
  static constexpr std::uint32_t kLeastState = 8;
  // In a transition: to a state in which nothing has begun, so that idle octets may be skipped.
  static constexpr std::uint32_t kIdle = 1u << 31;
  // A state is a set of instructions; with kBegins those at which the program begins are among them
  // without being written down, since they are many and in most states.
  // Words before a state's row: the next in its bucket, its gate, its kind and whether matches
  // begin here too, how many instructions it is, its twin in which none begin. Behind the row:
  // the instructions.
  enum Field : std::uint32_t { chain = 6, gate = 5, flags = 4, count = 3, twin = 2, hash = 1 };
  static constexpr std::uint32_t kBegins = 4;  // in flags

  struct Instruction {
    GateOperation operation;
    std::uint32_t operand;
    std::uint32_t next;
  };

  Kind kind_of(unsigned char octet) const;
  std::uint32_t start(Kind kind, GateScratch& scratch) const;
  std::uint32_t start_here(Kind kind, GateScratch& scratch) const;
  std::uint32_t without_begins(std::uint32_t state, GateScratch& scratch) const;
  std::uint32_t step(std::uint32_t state, unsigned symbol, GateScratch& scratch) const;
  // Adds `from` and what it leads to without an octet; true when it leads to the end.
  bool close(std::uint32_t from, Kind kind, GateScratch& scratch,
             std::vector<std::uint32_t>& kept) const;
  bool holds(GateOperation operation, Kind before, unsigned symbol) const;
  std::span<const std::uint32_t> set_of(std::uint32_t state, const GateScratch& scratch) const;
  bool advance(std::vector<std::uint32_t>& kept, Kind before, unsigned symbol,
               std::vector<std::uint32_t>& next, GateScratch& scratch) const;
  bool begins_between(std::string_view text, std::size_t from, std::uint32_t to,
                      GateScratch& scratch) const;
  Kind kind_before(std::string_view text, std::size_t at) const;
  void find_idle_octets();
  void find_starts();
  void find_inside();
  std::vector<std::uint32_t> without(std::uint32_t instruction) const;
  std::vector<std::vector<std::uint32_t>> octets_behind() const;
  std::uint32_t intern(std::vector<std::uint32_t>& set, std::uint32_t flags,
                       GateScratch& scratch) const;

  // What is asked first stands in the first cache lines.
  std::uint32_t number_ = 0;
  std::uint16_t end_ = 0;  // the symbol for the end of the text
  bool lines_ = false;
  bool words_ = false;
  RegexStarts starts_;
  std::unique_ptr<const RegexStarts> inside_;
  RegexStarts::Classes class_of_{};
  std::vector<Instruction> program_;
  std::vector<std::bitset<256>> sets_;
  std::vector<unsigned char> sample_;  // an octet of each class
  std::array<bool, 256> idle_{};       // no match begins with it
  bool skips_ = false;                 // there are enough of them
};

}  // namespace sluice::scan
