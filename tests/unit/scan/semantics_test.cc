// What rules mean: each keyword on small octets, in a stream cut in several ways and in a block
// buffer.
#include "tests/unit/scan/rules_on_octets.h"

namespace sluice::test {
namespace {

using scan::Buffer;
using namespace std::string_view_literals;

// Expects that the one rule hits or does not, as a stream in pieces and as a whole item.
void expect(std::string_view options, std::string_view octets, bool hit) {
  SCOPED_TRACE("rule: " + std::string(options) + "  octets: " + testing::PrintToString(octets));
  const auto stream = ruleset_of(rule(7, options));
  const auto block = ruleset_of(rule(7, "email.subject; " + std::string(options)));
  const Sids expected = hit ? Sids{7} : Sids{};
  for (const std::size_t cut : {0u, 1u, 3u}) {
    EXPECT_EQ(hits(*stream, octets, Buffer::stream, cut), expected) << "cut " << cut;
  }
  EXPECT_EQ(hits(*block, octets, Buffer::subject), expected);
}

TEST(RuleSemantics, LiteralIsFoundAnywhere) {
  expect("content:\"needle\";", "hay needle hay", true);
  expect("content:\"needle\";", "hay NEEDLE hay", false);
  expect("content:\"needle\"; nocase;", "hay NEEDLE hay", true);
  expect("content:\"needle\"; fast_pattern;", "needle", true);
}

TEST(RuleSemantics, TwoContentsAreBothNeededInAnyOrder) {
  expect("content:\"alpha\"; content:\"BETA\"; nocase;", "beta .. alpha", true);
  expect("content:\"alpha\"; content:\"BETA\"; nocase;", "beta .. ALPHA", false);
  expect("content:\"alpha\"; content:\"beta\";", "alpha", false);
}

TEST(RuleSemantics, HexAndEscapes) {
  expect("content:\"a|3b 22 5C|b\";", "xa;\"\\bx", true);
  expect("content:\"a\\;\\\"\\\\b\";", "xa;\"\\bx", true);
  expect("content:\"A|0d0a|B\";", "A\r\nB", true);
  expect("content:\"x;y\";", "x;y", true);
}

TEST(RuleSemantics, A19_NulInPatternAndTextDoesNotEndEither) {
  expect("content:\"a|00|b\";", "..a\0b.."sv, true);
  expect("content:\"a|00|b\";", "..a\0c.."sv, false);
  expect("content:\"sign\";", "safe\0sign"sv, true);
  expect("content:\"a|00|b\"; content:\"!|00 00|\"; distance:0;", "a\0b...!\0\0"sv, true);
  expect("content:\"c\"; content:\"a|00|b\"; distance:-3;", "a\0bc a\0b"sv, true);
  expect("pcre:\"/a\\x00+b/\";", "..a\0\0b"sv, true);
}

TEST(RuleSemantics, EveryOctetValueIsLiteral) {
  std::string rules;
  for (int octet = 0; octet < 256; ++octet) {
    char content[32];
    std::snprintf(content, sizeof content, "content:\"<|%02x|>\";", static_cast<unsigned>(octet));
    rules += rule(1 + octet, content);
  }
  const auto ruleset = ruleset_of(rules);
  for (int octet = 0; octet < 256; ++octet) {
    const std::string text = {'<', static_cast<char>(octet), '>'};
    EXPECT_EQ(hits(*ruleset, text), Sids{static_cast<std::uint32_t>(1 + octet)});
  }
}

TEST(RuleSemantics, OffsetAndDepth) {
  expect("content:\"abc\"; offset:2;", "abc", false);
  expect("content:\"abc\"; offset:2;", "..abc", true);
  expect("content:\"abc\"; offset:2;", "abc.abc", true);
  expect("content:\"abc\"; depth:3;", "abc", true);
  expect("content:\"abc\"; depth:3;", ".abc", false);
  expect("content:\"abc\"; depth:4;", ".abc", true);
  expect("content:\"abc\"; offset:1; depth:4;", "..abc", true);
  expect("content:\"abc\"; offset:1; depth:4;", "...abc", false);
  expect("content:\"abc\"; startswith;", "abcd", true);
  expect("content:\"abc\"; startswith;", "aabcd", false);
  expect("content:\"abc\"; endswith;", "dabc", true);
  expect("content:\"abc\"; endswith;", "dabc\n", false);
  expect("content:\"abc\"; nocase; startswith; endswith;", "ABC", true);
  expect("content:\"abc\"; startswith; endswith;", "abcabc", false);
}

TEST(RuleSemantics, DistanceAndWithin) {
  expect("content:\"ab\"; content:\"cd\"; distance:0;", "cd ab", false);
  expect("content:\"ab\"; content:\"cd\"; distance:0;", "cd ab cd", true);
  expect("content:\"ab\"; content:\"cd\"; distance:2;", "ab.cd", false);
  expect("content:\"ab\"; content:\"cd\"; distance:2;", "ab..cd", true);
  expect("content:\"ab\"; content:\"cd\"; within:3;", "ab.cd", true);
  expect("content:\"ab\"; content:\"cd\"; within:3;", "ab..cd", false);
  expect("content:\"ab\"; content:\"cd\"; distance:1; within:3;", "abcd", false);
  expect("content:\"ab\"; content:\"cd\"; distance:1; within:3;", "ab..cd", true);
  expect("content:\"ab\"; content:\"cd\"; distance:1; within:3;", "ab...cd", false);
  // The first `ab` does not fit, the second does.
  expect("content:\"ab\"; content:\"cd\"; within:2;", "ab ab abcd", true);
  expect("content:\"a\"; content:\"b\"; distance:-1;", "ba", false);
  expect("content:\"aba\"; content:\"ab\"; distance:-1; within:2;", "abaab", false);
  expect("content:\"aba\"; content:\"bab\"; distance:-2; within:3;", "abab", true);
  expect("content:\"a\"; content:\"b\"; distance:1; within:300; content:\"c\"; within:400;",
         "a.b.c", true);
}

TEST(RuleSemantics, RelativeContentWithoutAnotherCountsFromTheStart) {
  expect("content:\"cd\"; distance:2; within:3;", "..cd", true);
  expect("content:\"cd\"; distance:2; within:3;", "....cd", false);
  expect("content:!\"x\"; content:\"cd\"; within:2;", "cd", true);
}

TEST(RuleSemantics, NegatedContents) {
  expect("content:\"ab\"; content:!\"cd\";", "ab", true);
  expect("content:\"ab\"; content:!\"cd\";", "cd ab", false);
  expect("content:\"ab\"; content:!\"cd\";", "ab cd", false);
  expect("content:!\"cd\";", "ab", true);
  expect("content:!\"cd\";", "abcd", false);
  expect("content:\"ab\"; content:!\"cd\"; within:3;", "ab.cd", false);
  expect("content:\"ab\"; content:!\"cd\"; within:3;", "ab..cd", true);
  expect("content:\"ab\"; content:!\"cd\"; within:3;", "ab.cd ab...", true);
  expect("content:\"ab\"; content:!\"cd\"; within:3;", "ab", true);
  expect("content:\"ab\"; content:!\"cd\"; depth:4;", "..cdab", false);
  expect("content:\"ab\"; content:!\"cd\"; depth:4;", "...cdab", true);
  expect("content:\"ab\"; content:!\"cd\"; within:2; content:\"ef\"; distance:1; within:4;",
         "ab..ef", true);
  expect("content:\"ab\"; content:!\"cd\"; within:2; content:\"ef\"; distance:1; within:4;",
         "abcdef", false);
  expect("content:\"ab\"; content:!\"end\"; endswith;", "ab end.", true);
  expect("content:\"ab\"; content:!\"end\"; endswith;", "ab end", false);
  // Counted from another one, too, only what stands at the end is the end.
  expect("content:\"ab\"; content:!\"end\"; distance:1; within:9; endswith;", "ab end.", true);
  expect("content:\"ab\"; content:!\"end\"; distance:1; within:9; endswith;", "ab end", false);
  expect("content:\"ab\"; content:!\"end\"; distance:1; within:9; endswith;", "ab end end", false);
  expect("content:\"ab\"; content:!\"end\"; distance:1; within:4; endswith;", "ab end end", true);
}

// A header field as it was sent was an item of its own, and what its encoding hid was absent there.
TEST(RuleSemantics, WhatIsAbsentFromAnotherReadingSaysNothing) {
  const auto said = [](std::string_view options, bool another) {
    const auto rules = ruleset_of(rule(7, "email.subject; " + std::string(options)));
    const auto scratch = scan::Scratch::make(*rules);
    scan::MessageScan scan(**scratch, std::pmr::new_delete_resource());
    scan.whole(Buffer::subject, as_bytes("ab cd"));
    scan.whole(Buffer::subject, as_bytes("ab =63d"), another);
    scan.settle();
    return !scan.hits().empty();
  };
  for (const char* options :
       {"content:\"ab\"; content:!\"cd\";", "content:!\"cd\";",
        "content:\"ab\"; content:!\"cd\"; within:4;", "content:\"ab\"; pcre:!\"/c(?=d)/\";"}) {
    EXPECT_TRUE(said(options, false)) << options;
    EXPECT_FALSE(said(options, true)) << options;
  }
  EXPECT_TRUE(said("content:\"=63\";", true));
  EXPECT_TRUE(said("content:\"ab\"; content:\"=63\"; within:9;", true));
}

TEST(RuleSemantics, Regexes) {
  expect("pcre:\"/sp[a4]m{2,3}/\";", "sp4mm", true);
  expect("pcre:\"/sp[a4]m{2,3}/\";", "SP4MM", false);
  expect("pcre:\"/sp[a4]m{2,3}/i\";", "SP4MM", true);
  expect("pcre:\"/a.c/\";", "a\nc", false);
  expect("pcre:\"/a.c/s\";", "a\nc", true);
  expect("pcre:\"/^b/\";", "a\nb", false);
  expect("pcre:\"/^b/m\";", "a\nb", true);
  expect("pcre:\"/a b # remark/x\";", "ab", true);
  expect("pcre:\"/a|b/A\";", "ca", false);
  expect("pcre:\"/a|b/A\";", "bc", true);
  expect("pcre:\"/a b|c # remark/Ax\";", "xc", false);
  expect("pcre:\"/a$/\";", "ba\n", true);
  expect("pcre:\"/a$/\";", "ba", true);
  expect("pcre:\"/a$/\";", "ba.", false);
  expect("pcre:\"/a$/E\";", "ba\n", false);
  expect("pcre:\"/a$/E\";", "ba", true);
  expect("pcre:\"/\\bcash\\b/i\";", "free CASH!", true);
  expect("pcre:\"/\\bcash\\b/i\";", "cashier", false);
  expect("pcre:!\"/[0-9]{3}/\";", "12 34", true);
  expect("pcre:!\"/[0-9]{3}/\";", "1234", false);
  expect("pcre:\"/a\\/b/\";", "a/b", true);
  expect("pcre:\"/x;y/\";", "x;y", true);
}

TEST(RuleSemantics, RegexesThatHyperscanCannotSayAreConfirmed) {
  expect("pcre:\"/(ab|cd)-\\1/\";", "ab-ab", true);
  expect("pcre:\"/(ab|cd)-\\1/\";", "ab-cd", false);
  expect("pcre:\"/foo(?!bar)/\";", "foobar", false);
  expect("pcre:\"/foo(?!bar)/\";", "foobar foobaz", true);
  expect("pcre:\"/(?<!no )spam/\";", "no spam", false);
  expect("pcre:\"/(?<!no )spam/\";", "so spam", true);
  expect("pcre:\"/a++b/\";", "aaab", true);
  expect("pcre:!\"/foo(?!bar)/\";", "foobar", true);
  expect("pcre:!\"/foo(?!bar)/\";", "foobaz", false);
  expect("content:\"x\"; pcre:\"/foo(?=bar)/\";", "foobar", false);
  expect("content:\"x\"; pcre:\"/foo(?=bar)/\";", "foobar x", true);
}

TEST(RuleSemantics, RelativeRegexes) {
  expect("content:\"ab\"; pcre:\"/[0-9]+/R\";", "12 ab", false);
  expect("content:\"ab\"; pcre:\"/[0-9]+/R\";", "ab 12", true);
  expect("content:\"ab\"; pcre:\"/^[0-9]+/R\";", "ab 12", false);
  expect("content:\"ab\"; pcre:\"/^[0-9]+/R\";", "ab ab12", true);
  expect("content:\"ab\"; pcre:\"/x+/R\"; content:\"cd\"; distance:0; within:3;", "ab xx.cd", true);
  expect("content:\"ab\"; pcre:\"/x+/R\"; content:\"cd\"; distance:0; within:3;", "ab xx..cd",
         false);
  expect("pcre:\"/x+/R\";", "axa", true);
}

TEST(RuleSemantics, BufferKeywordsSayWhere) {
  const auto ruleset = ruleset_of(
      rule(1, "file_data; content:\"mark\";") + rule(2, "file.data; content:\"mark\";") +
      rule(3, "smtp.helo; content:\"mark\";") + rule(4, "smtp.mail_from; content:\"mark\";") +
      rule(5, "smtp.rcpt_to; content:\"mark\";") + rule(6, "email.from; content:\"mark\";") +
      rule(7, "email.to; content:\"mark\";") + rule(8, "email.subject; content:\"mark\";") +
      rule(9, "email.url; content:\"mark\";") + rule(10, "file.name; content:\"mark\";") +
      rule(11, "sluice.text; content:\"mark\";") + rule(12, "sluice.raw; content:\"mark\";") +
      rule(13, "sluice.header; content:\"mark\";") + rule(14, "content:\"mark\";") +
      rule(15, "file_data; content:\"q\"; pkt_data; content:\"mark\";") +
      rule(16, "email.cc; content:\"mark\";") + rule(17, "email.date; content:\"mark\";") +
      rule(18, "email.message_id; content:\"mark\";") +
      rule(19, "email.x_mailer; content:\"mark\";") +
      rule(20, "email.received; content:\"mark\";"));
  const std::pair<Buffer, Sids> expected[] = {
      {Buffer::stream, {14}},     {Buffer::decoded, {1, 2}}, {Buffer::text, {11}},
      {Buffer::raw, {12}},        {Buffer::header, {13}},    {Buffer::helo, {3}},
      {Buffer::mail_from, {4}},   {Buffer::rcpt_to, {5}},    {Buffer::from, {6}},
      {Buffer::to, {7}},          {Buffer::subject, {8}},    {Buffer::url, {9}},
      {Buffer::name, {10}},       {Buffer::cc, {16}},        {Buffer::date, {17}},
      {Buffer::message_id, {18}}, {Buffer::x_mailer, {19}},  {Buffer::received, {20}}};
  for (const auto& [buffer, sids] : expected) {
    SCOPED_TRACE(scan::kBufferNames[static_cast<std::size_t>(buffer)]);
    EXPECT_EQ(hits(*ruleset, "a mark", buffer), sids);
    EXPECT_TRUE(scan::MessageScan::wanted(*ruleset, buffer));
  }
}

TEST(RuleSemantics, FileNamesIgnoreCase) {
  const auto ruleset = ruleset_of(rule(1, "filename:\"Invoice\";") + rule(2, "fileext:\"exe\";") +
                                  rule(3, "filename:!\"invoice\";"));
  EXPECT_EQ(hits(*ruleset, "your INVOICE.EXE", Buffer::name), (Sids{1, 2}));
  EXPECT_EQ(hits(*ruleset, "a.exe.txt", Buffer::name), Sids{3});
  EXPECT_EQ(hits(*ruleset, "exe", Buffer::name), Sids{3});
}

TEST(RuleSemantics, ARuleOverTwoBuffersNeedsBothInOneTransaction) {
  const auto ruleset =
      ruleset_of(rule(1, "email.subject; content:\"win\"; file_data; content:\"prize\";"));
  const auto scratch = *scan::Scratch::make(*ruleset);
  scan::MessageScan scan(*scratch, std::pmr::get_default_resource());
  scan.whole(Buffer::subject, as_bytes("you win"));
  EXPECT_TRUE(scan.hits().empty());
  scan.next_transaction();
  scan.feed(Buffer::decoded, as_bytes("a prize"));
  scan.end_item(Buffer::decoded);
  EXPECT_TRUE(scan.hits().empty());
  scan.whole(Buffer::subject, as_bytes("you win"));
  ASSERT_EQ(scan.hits().size(), 1u);
  EXPECT_EQ(scan.hits().front().where, Buffer::subject);
}

TEST(RuleSemantics, ContentsOfOneBufferMustMeetInOneItem) {
  const auto ruleset = ruleset_of(rule(1, "email.url; content:\"alpha\"; content:\"beta\";") +
                                  rule(2, "file_data; content:\"alpha\"; content:\"beta\";"));
  const auto scratch = *scan::Scratch::make(*ruleset);
  scan::MessageScan scan(*scratch, std::pmr::get_default_resource());
  scan.whole(Buffer::url, as_bytes("alpha"));
  scan.whole(Buffer::url, as_bytes("beta"));
  scan.feed(Buffer::decoded, as_bytes("alpha"));
  scan.end_item(Buffer::decoded);
  scan.feed(Buffer::decoded, as_bytes("beta"));
  scan.end_item(Buffer::decoded);
  EXPECT_EQ(sids_of(scan), Sids{});
  scan.whole(Buffer::url, as_bytes("beta/alpha"));
  scan.feed(Buffer::decoded, as_bytes("alpha, beta"));
  EXPECT_EQ(sids_of(scan), (Sids{1, 2}));
}

TEST(RuleSemantics, NothingMatchesAcrossItems) {
  const auto ruleset = ruleset_of(rule(1, "file_data; content:\"needle\";"));
  const auto scratch = *scan::Scratch::make(*ruleset);
  scan::MessageScan scan(*scratch, std::pmr::get_default_resource());
  scan.feed(Buffer::decoded, as_bytes("nee"));
  scan.end_item(Buffer::decoded);
  scan.feed(Buffer::decoded, as_bytes("dle"));
  scan.settle();
  EXPECT_EQ(sids_of(scan), Sids{});
}

TEST(RuleSemantics, ScoresAddUpAndEachRuleCountsOnceInATransaction) {
  const auto ruleset = ruleset_of(
      "tempfail smtp any any -> any any (msg:\"m \\\"q\\\"\"; content:\"aa\"; sid:1; rev:3; gid:9; "
      "classtype:trojan-activity; metadata: created 2026, sluice_score 2.5;)\n"
      "drop smtp any any -> any any (content:\"bb\"; sid:2; priority:4; metadata:sluice_score "
      "-0.25;)\n");
  const auto scratch = *scan::Scratch::make(*ruleset);
  scan::MessageScan scan(*scratch, std::pmr::get_default_resource());
  for (int transaction = 0; transaction < 3; ++transaction) {
    scan.feed(Buffer::stream, as_bytes("aa aa"));
    scan.end_item(Buffer::stream);
    EXPECT_EQ(scan.score(), 250);
    scan.feed(Buffer::stream, as_bytes("aa bb bb"));
    EXPECT_EQ(scan.score(), 225);
    ASSERT_EQ(scan.hits().size(), 2u);
    const scan::RuleInfo& first = *scan.hits()[0].rule;
    EXPECT_EQ(first.action, scan::RuleAction::tempfail);
    EXPECT_EQ(first.message, "m \"q\"");
    EXPECT_EQ(first.category, "A Network Trojan was detected");
    EXPECT_EQ(first.severity, 1);
    EXPECT_EQ(first.revision, 3u);
    EXPECT_EQ(first.gid, 9u);
    EXPECT_EQ(scan.hits()[1].rule->action, scan::RuleAction::drop);
    EXPECT_EQ(scan.hits()[1].rule->severity, 4);
    scan.next_transaction();
    EXPECT_TRUE(scan.hits().empty());
    EXPECT_EQ(scan.score(), 0);
  }
}

TEST(RuleSemantics, PartsOfAMatchInTwoTransactionsAreNoMatch) {
  const auto ruleset = ruleset_of(rule(1, "content:\"needle\";"));
  const auto scratch = *scan::Scratch::make(*ruleset);
  scan::MessageScan scan(*scratch, std::pmr::get_default_resource());
  scan.feed(Buffer::stream, as_bytes("nee"));
  scan.next_transaction();
  scan.feed(Buffer::stream, as_bytes("dle"));
  scan.settle();
  EXPECT_EQ(sids_of(scan), Sids{});
}

TEST(RuleSemantics, HitsAreKnownBeforeTheItemEnds) {
  const auto ruleset = ruleset_of(rule(1, "content:\"needle\";"));
  const auto scratch = *scan::Scratch::make(*ruleset);
  scan::MessageScan scan(*scratch, std::pmr::get_default_resource());
  scan.feed(Buffer::stream, as_bytes("a nee"));
  EXPECT_EQ(sids_of(scan), Sids{});
  scan.feed(Buffer::stream, as_bytes("dle"));
  EXPECT_EQ(sids_of(scan), Sids{1});
  EXPECT_EQ(scan.octets_scanned(), 8u);
}

TEST(RuleSemantics, WithoutAStreamTheScanSaysThatItIsIncomplete) {
  const auto ruleset = ruleset_of(rule(1, "content:\"needle\";"));
  LimitedResource nothing(std::pmr::get_default_resource(), 0);
  const auto scratch = *scan::Scratch::make(*ruleset);
  scratch->charge_to(&nothing);
  scan::MessageScan scan(*scratch, std::pmr::get_default_resource());
  scan.feed(Buffer::stream, as_bytes("needle"));
  scan.settle();
  EXPECT_TRUE(scan.hits().empty());
  EXPECT_TRUE(scan.incomplete());
}

TEST(RuleSemantics, AnEmptyRulesetWantsNothing) {
  const auto ruleset = scan::Ruleset::empty();
  EXPECT_FALSE(scan::MessageScan::wanted(*ruleset, Buffer::stream));
  EXPECT_EQ(hits(*ruleset, "anything"), Sids{});
}

}  // namespace
}  // namespace sluice::test
