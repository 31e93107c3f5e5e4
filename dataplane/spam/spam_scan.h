// SpamAssassin's rules over one message: its octets in, hits and a score out.
//
// Theory. The message is read in parts (message_parts.h); what rules look at is kept, and all rules
// run at its end: one pass finds what may hit (scan/spam_scanner.h), and only what decides about
// something that is reported is tried (scan/spam_judge.h). Text beyond what is kept is scanned as
// it comes. Nothing depends on how the octets are cut.
//
// Memory: what the view keeps comes from `memory` by way of an arena and goes with the scan;
// bounded by the constants of message_parts.h.
#pragma once

#include <memory>
#include <memory_resource>
#include <vector>

#include "dataplane/base/bytes.h"
#include "dataplane/scan/spam_judge.h"
#include "dataplane/scan/spam_rules.h"
#include "dataplane/scan/spam_scanner.h"
#include "dataplane/spam/longest_line.h"
#include "dataplane/spam/view.h"

namespace sluice::spam {

class SpamScan final : private PartsSink, private scan::SpamJudge::Witness {
 public:
  struct Options {
    FlowFacts flow;
    bool outbound = false;             // rules that judge the receiving side are off
    std::uint64_t now = 0;             // seconds since the epoch
    scan::SpamTimes* times = nullptr;  // where to add what groups of rules take
    bool everything = false;           // decides parts of metas too, though nobody asks: all_hits()
  };
  // `rules` and `scratch` (reserved for the ruleset of `rules`) must outlive the scan.
  SpamScan(const scan::SpamRules& rules, scan::Scratch& scratch, const Options& options,
           std::pmr::memory_resource* memory);
  ~SpamScan();
  SpamScan(const SpamScan&) = delete;
  SpamScan& operator=(const SpamScan&) = delete;

  void feed(Bytes octets);  // dot-stuffing undone
  // A `full` test hit (it is looked for elsewhere, in the stream).
  void set_full(std::uint32_t test);
  // The message ended: hits() and score() are whole. Once.
  void finish();

  const std::pmr::vector<scan::Hit>& hits() const { return hits_; }
  // With Options::everything: all tests that hit, parts of metas too, with their values.
  const std::pmr::vector<std::pair<std::uint32_t, double>>& all_hits() const { return all_hits_; }
  std::int32_t score() const { return score_; }  // thousandths
  std::uint64_t octets_scanned() const { return scanner_.octets_scanned(); }
  const View& view() const { return view_; }

 private:
  void on_message_header() override;
  void on_part_header(std::uint32_t part) override;
  void on_raw_lines(std::uint32_t part, std::string_view lines) override;
  void on_leaf(std::uint32_t part, TextBuffer& raw) override;

  double answer(std::uint32_t test) override;

  void add_headers(scan::SpamJudge& judge);
  void add_mime_headers(const MessagePart& part);
  void add_text();
  void open_tests(scan::SpamJudge& judge);
  void take_hits(const scan::SpamJudge& judge);
  std::string_view keep(TextBuffer& text);
  void first_plain_body(std::string_view text);
  void raw_body(std::string_view text);
  void raw_piece(std::string_view piece);
  void body_text(std::string_view text);
  std::size_t take_white(std::string_view text);
  std::size_t take_black(std::string_view text);
  void end_white_space();
  void end_paragraph();
  void paragraph(std::size_t begin, std::size_t end);
  void count_part(std::uint32_t part);
  void image(const MessagePart& part, std::string_view raw);

  std::pmr::monotonic_buffer_resource arena_;
  const scan::SpamRules& rules_;
  scan::SpamScanner scanner_;
  Options options_;
  scan::SpamHits counts_;  // of what was scanned before the end
  View view_;
  MessageParts parts_;
  LongestLine longest_line_;
  std::pmr::vector<scan::Hit> hits_;
  std::pmr::vector<std::pair<std::uint32_t, double>> all_hits_;
  // What is scanned at the end, beside the view's paragraphs.
  struct Piece {
    std::string_view text;
    bool high;  // SpamScanner::takes_high
  };
  std::pmr::vector<TextBuffer> texts_;  // of parts, raw, decoded and rendered
  std::pmr::vector<bool> high_paragraphs_;
  std::pmr::vector<Piece> raw_pieces_;
  std::size_t raw_octets_ = 0;  // of the pieces
  // The paragraph in progress stands in the view's body behind the others.
  std::size_t paragraph_ = 0;
  // The run of white space in progress, not yet decided: see body_text().
  struct White {
    std::size_t octets = 0;
    std::size_t lines = 0;  // line ends
    bool before = false;    // some stands before the first line end
    bool behind = false;    // some stands behind the last one
  } white_;
  bool any_text_ = false;
  bool finished_ = false;
  std::int32_t score_ = 0;
};

// Compiles the constant tables: off the loop, before the first scan.
void prepare();

}  // namespace sluice::spam
