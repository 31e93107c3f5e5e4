// What tests of SpamAssassin's rules share: rules as text, and the names that hit a message.
#pragma once

#include <gtest/gtest.h>

#include <memory_resource>
#include <set>
#include <string>
#include <string_view>

#include "dataplane/scan/spam_rules.h"
#include "dataplane/spam/spam_scan.h"
#include "tests/unit/scan/rules_on_octets.h"

namespace sluice::test {

struct SpamResult {
  std::set<std::string> names;  // of rules, parts of metas too
  std::set<std::string> reported;
  std::int32_t score = 0;  // thousandths
};

class SpamRuleset {
 public:
  explicit SpamRuleset(std::string_view text, bool faults_expected = false) {
    compiled = compile_text(text, "test.cf");
    if (!compiled) return;
    for (const control::RuleFault& fault : compiled->faults) {
      if (!faults_expected) {
        EXPECT_FALSE(fault.fatal) << "line " << fault.line << ": " << fault.rule << ": "
                                  << fault.text;
      }
    }
    auto opened = scan::Ruleset::open(compiled->image);
    EXPECT_TRUE(opened) << opened.error();
    if (!opened) return;
    ruleset = *opened;
    scratch = *scan::Scratch::make(*ruleset);
  }

  // `message` has LF line ends and is given with CR LF, as on the wire, in pieces of `cut` octets.
  // What is reported must be the same when no more is tried than that needs.
  SpamResult run(std::string_view message, std::size_t cut = 0,
                 spam::SpamScan::Options options = {}) const {
    options.everything = true;
    const SpamResult all = run_once(message, cut, options);
    options.everything = false;
    const SpamResult lazy = run_once(message, cut, options);
    EXPECT_EQ(lazy.reported, all.reported) << message;
    EXPECT_EQ(lazy.score, all.score) << message;
    return all;
  }

  std::shared_ptr<const control::CompiledRules> compiled;
  std::shared_ptr<const scan::Ruleset> ruleset;
  std::shared_ptr<scan::Scratch> scratch;

 private:
  SpamResult run_once(std::string_view message, std::size_t cut,
                      const spam::SpamScan::Options& options) const {
    std::string wire;
    for (const char c : message) {
      if (c == '\n') wire += '\r';
      wire += c;
    }
    scan::MessageScan stream(*scratch, std::pmr::get_default_resource());
    spam::SpamScan scan(*ruleset->spam(), *scratch, options, std::pmr::get_default_resource());
    const std::size_t step = cut == 0 ? std::max<std::size_t>(wire.size(), 1) : cut;
    for (std::size_t at = 0; at < wire.size(); at += step) {
      const auto piece = as_bytes(std::string_view(wire).substr(at, step));
      stream.feed(scan::Buffer::raw, piece);
      scan.feed(piece);
    }
    stream.settle();
    for (const scan::Hit& hit : stream.hits()) {
      const auto rule = static_cast<std::uint32_t>(hit.rule - ruleset->rules().data());
      if (const std::uint32_t test = ruleset->spam_test(rule)) scan.set_full(test - 1);
    }
    scan.finish();
    SpamResult result;
    for (const auto& [test, value] : scan.all_hits()) {
      result.names.insert(ruleset->spam()->tests()[test].info.name);
    }
    for (const scan::Hit& hit : scan.hits()) result.reported.insert(hit.rule->name);
    result.score = scan.score();
    return result;
  }
};

inline std::set<std::string> spam_hits(std::string_view rules, std::string_view message,
                                       const spam::SpamScan::Options& options = {}) {
  return SpamRuleset(rules).run(message, 0, options).names;
}

}  // namespace sluice::test
