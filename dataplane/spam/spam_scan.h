// SpamAssassin's rules over one message: its octets in, hits and a score out.
//
// Theory. The message is read in parts (message_parts.h). The header rules run when the header is
// whole, the rules of text, decoded text and URLs part by part as parts end, native functions and
// metas at the end of the message, metas only where an input changed (scan/spam_rules.h). Nothing
// depends on how the octets are cut.
//
// Memory: what the view keeps comes from `memory` by way of an arena and goes with the scan;
// bounded by the constants of message_parts.h.
#pragma once

#include <memory>
#include <memory_resource>
#include <vector>

#include "dataplane/base/bytes.h"
#include "dataplane/scan/spam_rules.h"
#include "dataplane/spam/view.h"

namespace sluice::spam {

class SpamScan final : private PartsSink {
 public:
  struct Options {
    FlowFacts flow;
    bool outbound = false;             // rules that judge the receiving side are off
    std::uint64_t now = 0;             // seconds since the epoch
    scan::SpamTimes* times = nullptr;  // where to add what groups of rules take
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
  // All tests that hit, parts of metas too, with their values: for `rules test`.
  std::vector<std::pair<std::uint32_t, double>> all_hits() const;
  std::int32_t score() const { return score_; }  // thousandths
  std::uint64_t octets_scanned() const { return scanner_.octets_scanned(); }
  const View& view() const { return view_; }

 private:
  void on_message_header() override;
  void on_part_header(std::uint32_t part) override;
  void on_raw_line(std::uint32_t part, std::string_view line) override;
  void on_leaf(std::uint32_t part, std::string_view raw) override;

  void header_tests();
  void mime_header_tests(std::uint32_t part);
  void raw_body(std::string_view text);
  void body_text(std::string_view text);
  void body_byte(char c);
  void end_white_space();
  void end_paragraph();
  void body_paragraphs(std::string_view text);
  void paragraph(std::string_view text);
  void count_part(std::uint32_t part);
  void image(const MessagePart& part, std::string_view raw);
  void evaluate();

  std::pmr::monotonic_buffer_resource arena_;
  const scan::SpamRules& rules_;
  scan::SpamScanner scanner_;
  Options options_;
  scan::SpamHits counts_;
  View view_;
  MessageParts parts_;
  std::pmr::vector<double> values_;
  std::pmr::vector<scan::Hit> hits_;
  // The text of the message, white space not yet decided: see body_text().
  String line_;
  bool any_text_ = false;
  bool finished_ = false;
  String white_;  // the run of white space in progress
  std::int32_t score_ = 0;
};

// Compiles the constant tables: off the loop, before the first scan.
void prepare();

}  // namespace sluice::spam
