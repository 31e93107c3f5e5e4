// The rule language: kinds of tests, header selectors, metas, scores, conditions, tags.
#include "tests/unit/spam/spam_on_message.h"

namespace sluice::test {
namespace {

using Names = std::set<std::string>;

constexpr std::string_view kPlain =
    "Received: from a.example (a.example [192.0.2.7]) by mx.example (Postfix) with ESMTP id 1;\n"
    "\tMon, 1 Jan 2024 10:00:00 +0000\n"
    "From: \"Doe, John\" <john@sender.example>, other@second.example\n"
    "To: jane@receiver.example\n"
    "Cc: bob@third.example\n"
    "Subject: =?utf-8?Q?Buy_n=6Fw?=\n"
    "Message-Id: <1@sender.example>\n"
    "X-Empty: \n"
    "Return-Path: <bounce@sender.example>\n"
    "\n"
    "First line of\n"
    "one   paragraph.\n"
    "\n"
    "Second paragraph: see http://www.shop.example/buy?x=1 now, or mail me@host.example.\n";

constexpr std::string_view kTlds = "util_rb_tld example com net\n";

TEST(SpamRules, HeaderSelectors) {
  const Names hit = spam_hits(
      "header S1 Subject =~ /^Buy now$/\n"
      "header S2 Subject:raw =~ /n=6Fw/\n"
      "header S3 Subject:raw =~ /^Buy now/\n"
      "header F1 From:addr =~ /^john\\@sender\\.example$/\n"
      "header F2 From:name =~ /^Doe, John$/\n"
      "header F3 From:addr =~ /other\\@second\\.example/\n"
      "header F4 From:addr:last =~ /^other/\n"
      "header F5 From:first:addr =~ /other/\n"
      "header T1 ToCc =~ /jane.*bob/s\n"
      "header M1 MESSAGEID =~ /^<1\\@sender/\n"
      "header A1 ALL =~ /^Cc: bob/m\n"
      "header A2 ALL =~ /\\nTo: jane.*\\nCc:/\n"
      "header E1 EnvelopeFrom =~ /^bounce\\@sender/\n"
      "header X1 exists:X-Empty\n"
      "header X2 exists:X-Missing\n"
      "header N1 X-Missing !~ /something/\n"
      "header N2 To !~ /jane/\n"
      "header N3 To !~ /nobody/\n"
      "header U1 X-Missing =~ /^unset$/ [if-unset: unset]\n"
      "header U2 To =~ /^unset$/ [if-unset: unset]\n"
      "header Z1 X-Missing =~ /^$/\n"
      "header R1 X-Spam-Relays-External =~ /^\\[ ip=192\\.0\\.2\\.7 rdns=a\\.example "
      "helo=a\\.example by=mx\\.example /\n"
      "header C1 subject =~ /Buy/\n",
      kPlain);
  EXPECT_EQ(hit, (Names{"S1", "S2", "F2", "F3", "F5", "T1", "M1", "A1", "A2", "X1", "N1", "N3",
                        "U1", "Z1", "R1", "C1"}));
}

// A plain selector is written from the fields, others are read once and kept: of fields that stand
// there twice, are empty or lack, and whose names differ in case, both say the same.
// Behind the first 64 regexes without words come those that Hyperscan finds, in all items of the
// buffer alike (SpamCompiler::plan_pattern).
TEST(SpamRules, PatternsInWholeHeadersAreOfTheirSelector) {
  std::string rules;
  for (int i = 1; i <= 64; ++i)
    rules += "header D" + std::to_string(i) + " ALL =~ /[xy]{" + std::to_string(i) + "}[zq]/\n";
  // Folds are one blank in ALL and three octets in ALL:raw.
  for (const std::string letter : {"[a-z]", "[\\x80-\\xff]"}) {
    const Names hit = spam_hits(rules + "header A ALL =~ /" + letter + "\\s{3}[a-z]/\n" +
                                    "header B ALL:raw =~ /" + letter + "\\s{3}[a-z]/\n" +
                                    "header C ALL =~ /" + letter + "\\s[a-z]/\n",
                                "Subject: cafe\n\tx\nX-S: caf\xe9\n\tx\n\ntext\n");
    EXPECT_EQ(hit, (Names{"B", "C"})) << letter;
  }
}

TEST(SpamRules, HeaderFieldsThatAreMany) {
  const std::string_view message =
      "Subject: s\nX-Two: one\nx-TWO: second\n line\nX-Empty:\nX-Space:   \n\ntext\n";
  EXPECT_EQ(spam_hits("header P1 X-Two =~ /^one\\nsecond line\\n$/\n"
                      "header P2 x-two =~ /^second/m\n"
                      "header P3 X-Two =~ /one.second/\n"
                      "header P4 X-Two:raw =~ /one\\n second\\n line/\n"
                      "header P5 X-Two !~ /three/\n"
                      "header P6 X-Two !~ /second/\n"
                      "header P7 X-Tw =~ /./\n"
                      "header P8 exists:X-TWO\n"
                      "header E1 X-Empty =~ /^$/\n"
                      "header E2 exists:X-Empty\n"
                      "header E3 X-Empty =~ /\\S/\n"
                      "header E4 X-Space =~ /^\\s*$/\n",
                      message),
            (Names{"P1", "P2", "P4", "P5", "P8", "E1", "E2", "E4"}));
}

// Return-Path below a Received field may be that of another delivery.
TEST(SpamRules, OfAHeaderValueTheFirst32KiBAreLookedAt) {
  std::string message;
  for (const std::string_view mark : {"first", "more", "more", "more", "third"}) {
    message += "To: " + std::string(mark) + "@a.example";
    for (int i = 0; i < 600; ++i) message += ",\n x@b.example";  // some 7,200 octets
    message += '\n';
  }
  EXPECT_EQ(
      spam_hits("header A To =~ /first\\@/\nheader B To =~ /more\\@/\nheader C To =~ /third\\@/\n"
                "header D ALL =~ /third\\@/\n",
                message + "Subject: s\n\ntext\n"),
      (Names{"A", "B", "C", "D"}));
  EXPECT_EQ(
      spam_hits(
          "header A To =~ /more\\@/\nheader B To =~ /third\\@/\nheader C ALL =~ /third\\@/\n",
          "To: " + std::string(5000, 'x') + "@a.example\n" + message + "Subject: s\n\ntext\n"),
      (Names{"A", "C"}));
}

TEST(SpamRules, EnvelopeFromOfTheFlowComesFirst) {
  spam::SpamScan::Options options;
  options.flow.client = "198.51.100.9";
  options.flow.helo = "client.example";
  options.flow.has_mail_from = true;
  options.flow.mail_from = "real@envelope.example";
  const Names hit = spam_hits(
      "header E1 EnvelopeFrom =~ /^real\\@envelope\\.example$/\n"
      "header E2 X-Spam-Relays-External =~ /^\\[ ip=198\\.51\\.100\\.9 rdns=client\\.example "
      "helo=client\\.example /\n",
      kPlain, options);
  EXPECT_EQ(hit, (Names{"E1", "E2"}));
}

TEST(SpamRules, BodyIsParagraphsWithTheSubjectInFront) {
  const Names hit = spam_hits(
      "body B1 /First line of one paragraph\\./\n"
      "body B2 /paragraph\\. Second/\n"
      "body B3 /Buy now/\n"
      "body B4 /Buy now/\ntflags B4 nosubject\n"
      "body B5 /^Second/\n"
      "rawbody R1 /one   paragraph/\n"
      "rawbody R2 /line of\\none/\n"
      "rawbody R3 /Buy now/\n"
      "full L1 /^To: jane/m\n"
      "full L2 /of\\r\\none/\n",
      kPlain);
  EXPECT_EQ(hit, (Names{"B1", "B3", "B5", "R1", "R2", "L1", "L2"}));
}

TEST(SpamRules, UrisInTheTextAndInHtml) {
  const std::string rules = std::string(kTlds) +
                            "uri U1 m{^http://www\\.shop\\.example/buy\\?x=1$}\n"
                            "uri U2 /^mailto:me\\@host\\.example$/\n"
                            "uri U3 /hidden/\n"
                            "uri U4 m!^http://hidden\\.example/a$!\n"
                            "uri U5 m{^http://10\\.1\\.2\\.3/}\n";
  EXPECT_EQ(spam_hits(rules, kPlain), (Names{"U1", "U2"}));
  EXPECT_EQ(
      spam_hits(rules,
                "Subject: x\nContent-Type: text/html\n\n"
                "<a href=\"http://hid%64en.example/a\">x</a> <img src=http://0x0a010203/ >\n"),
      (Names{"U3", "U4", "U5"}));
}

// An address has at most 251 octets on each side of its @, and ends where Thunderbird ends it.
TEST(SpamRules, AddressesInLongWords) {
  const std::string rules = std::string(kTlds) +
                            "uri AT /\\@/\n"
                            "uri WHOLE /^mailto:me\\@host\\.example$/\n"
                            "uri LONG /^mailto:[^:]{300}/\n";
  const auto hits = [&](const std::string& text) {
    return spam_hits(rules, "Subject: x\n\n" + text + "\n");
  };
  const std::string many = [] {
    std::string out;
    for (int i = 0; i < 20'000; ++i) out += "a@";
    return out;
  }();
  EXPECT_EQ(hits("me@host.example"), (Names{"AT", "WHOLE"}));
  EXPECT_EQ(hits(many + ",me@host.example"), (Names{"AT", "WHOLE"})) << "behind an end";
  EXPECT_EQ(hits("<" + many + ">(me@host.example)"), (Names{"AT", "WHOLE"}));
  // Labels of at most 63 octets, 251 and 252 in all.
  const auto host = [](std::size_t size) {
    std::string out(size - 8, 'b');
    for (std::size_t at = 60; at + 1 < out.size(); at += 60) out[at] = '.';
    return out + ".example";
  };
  EXPECT_EQ(hits("a@" + host(251)), Names{"AT"});
  EXPECT_TRUE(hits("a@" + host(252)).empty());
  EXPECT_EQ(hits("a@" + std::string(252, 'b') + ",me@host.example"), (Names{"AT", "WHOLE"}));
  EXPECT_EQ(hits("mailto:" + std::string(400, 'b') + "@host.example"), (Names{"AT", "LONG"}));
  EXPECT_EQ(hits("mailto:" + std::string(2049, 'b') + "@me,mailto:me@host.example"),
            (Names{"AT", "WHOLE"}));
}

// Text without anything that begins a URL is passed in pieces; what has it is not, wherever it
// stands.
TEST(SpamRules, UrisAtTheEdgesOfWords) {
  const std::string rules = std::string(kTlds) +
                            "uri U1 m{^http://one\\.example/?$}\n"
                            "uri U2 m{^http://www\\.two\\.example/a$}\n"
                            "uri U3 m{^mailto:me\\@three\\.example$}\n"
                            "uri U4 m{^http://localhost}\n"
                            "uri ANY /./\n";
  const auto hits = [&](std::string_view text) {
    return spam_hits(rules, "Subject: x\n\n" + std::string(text) + "\n");
  };
  EXPECT_EQ(hits("http://one.example"), (Names{"U1", "ANY"}));
  EXPECT_EQ(hits("(http://one.example/)"), (Names{"U1", "ANY"}));
  EXPECT_EQ(hits("one.example"), (Names{"U1", "ANY"}));
  EXPECT_EQ(hits("http://2130706433/"), Names{"ANY"});
  EXPECT_EQ(hits("see\twww.two.example/a."), (Names{"U2", "ANY"}));
  EXPECT_EQ(hits("<me@three.example>"), (Names{"U3", "ANY"}));
  EXPECT_EQ(hits("end. of one .example and two. example"), Names{});
  EXPECT_EQ(hits("a: b:c 10:30 e...g www_two @ .. :/ ./"), Names{});
  EXPECT_EQ(hits(std::string(500, 'a') + "!" + std::string(500, '-')), Names{});
}

// A gate that keeps its regex from all that does not match, and is left out where it mostly does
// not, changes no answer, whatever it was asked before.
TEST(SpamRules, GatesLeaveTheHitsAsTheyAre) {
  const SpamRuleset rules(
      "body G1 /\\b(?:[a-z]{4,}[\\s.]+){3}end\\b/\n"
      "body G2 /q[0-9]{2,4}z/\ntflags G2 multiple\nmeta COUNT G2 == 3\nheader G3 Subject =~ "
      "/^re[0-9]+$/\n");
  ASSERT_TRUE(rules.ruleset);
  std::size_t gates = 0;
  const scan::SpamRules& spam = *rules.ruleset->spam();
  for (std::uint32_t i = 0; i < spam.regexes(); ++i) gates += spam.gate(i) != nullptr ? 1u : 0u;
  EXPECT_GE(gates, 2u);
  // First it lets its regex look until it is left out, then there is nothing.
  for (int round = 0; round < 120; ++round) {
    const bool there = round < 50 || round % 7 == 0;
    const std::string text =
        there ? "lorem ipsum. dolor end q12z q1z q123z q4567z" : "q12 z q1z lorem end";
    const SpamResult result =
        rules.run("Subject: re" + std::string(there ? "17" : "x7") + "\n\n" + text + "\n");
    EXPECT_EQ(result.names, there ? (Names{"G1", "G2", "G3", "COUNT"}) : Names{}) << round;
  }
}

TEST(SpamRules, MimeHeaders) {
  constexpr std::string_view kMessage =
      "Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: "
      "text/plain\n\na\n"
      "--b\nContent-Type: image/gif;\n name=\"x.gif\"\n\nR0lG\n--b--\n";
  const Names hit = spam_hits(
      "mimeheader M1 Content-Type =~ /^image\\/gif; name=\"x\\.gif\"$/\n"
      "mimeheader M2 Content-Type:raw =~ /gif;\\n name=/\n"
      "mimeheader M3 Content-Type =~ /audio/\n"
      "mimeheader M4 Content-Type !~ /audio/\n"
      "mimeheader M5 Content-Type !~ /image/\n",
      kMessage);
  EXPECT_EQ(hit, (Names{"M1", "M2", "M4"}));
}

TEST(SpamRules, MetasAndCounts) {
  const Names hit = spam_hits(
      "body __A /a/\ntflags __A multiple\n"
      "body __B /b/\ntflags __B multiple maxhits=2\n"
      "body __C /nothing/\n"
      "meta M1 __A && __B && !__C\n"
      "meta M2 __A == 5\n"
      "meta M3 __B == 2\n"
      "meta M4 (__A + __B) * 2 > 13\n"
      "meta M5 __C || (__A - 5)\n"
      "meta M6 M1 && M2\n"
      "meta M7 !M1\n"
      "meta M8 __C ? __A : __B\n"
      "meta M9 __UNKNOWN || __C\n"
      "meta M10 rules_matching(__*) >= 7\n"
      "meta M11 1 - !__C\n"
      "meta M12 __A / 5 >= 1\n"
      "meta M13 !__C && !M7\n",
      "Subject: x\n\naaaaa bbb\n");
  EXPECT_EQ(hit, (Names{"__A", "__B", "M1", "M2", "M3", "M4", "M6", "M8", "M10", "M12", "M13"}));
}

TEST(SpamRules, Scores) {
  const SpamRuleset rules(
      "body A /x/\n"
      "body B /x/\nscore B 1.5 2 3 4\n"
      "body N /x/\ntflags N nice\n"
      "body T_T /x/\n"
      "body Z /x/\nscore Z 0\n"
      "body __P /x/\n"
      "body R /x/\nscore R 0.001\n");
  const SpamResult result = rules.run("Subject: y\n\nx\n");
  EXPECT_EQ(result.reported, (Names{"A", "B", "N", "T_T", "R"}));
  EXPECT_EQ(result.score, 1000 + 1500 - 1000 + 10 + 1);
}

TEST(SpamRules, LaterDefinitionsReplaceEarlierOnes) {
  EXPECT_EQ(spam_hits("body A /one/\nbody A /two/\n", "Subject: y\n\none\n"), (Names{}));
  EXPECT_EQ(spam_hits("body A /one/\nheader A Subject =~ /y/\n", "Subject: y\n\none\n"),
            (Names{"A"}));
}

TEST(SpamRules, Conditions) {
  const Names hit = spam_hits(
      "ifplugin Mail::SpamAssassin::Plugin::MIMEEval\nbody A1 /x/\nelse\nbody A2 /x/\nendif\n"
      "ifplugin Mail::SpamAssassin::Plugin::NoSuch\nbody B1 /x/\nelse\nbody B2 /x/\nendif\n"
      "if (version >= 3.004002)\nbody C1 /x/\nendif\n"
      "if (version < 3.0) || !can(Mail::SpamAssassin::Conf::feature_bug6558_free)\nbody C2 "
      "/x/\nendif\n"
      "if can(Mail::SpamAssassin::Conf::feature_bug6558_free) && (perl_version >= 5.018000)\nbody "
      "C3 /x/\nendif\n"
      "if has(Mail::SpamAssassin::Plugin::MIMEEval::has_check_qp_ratio)\nbody C4 /x/\nendif\n"
      "if plugin(Mail::SpamAssassin::Plugin::NoSuch)\nif (version > 1)\nbody D1 "
      "/x/\nendif\nelse\nbody D2 /x/\nendif\n"
      "lang de body E1 /x/\nlang en body E2 /x/\n",
      "Subject: y\n\nx\n");
  EXPECT_EQ(hit, (Names{"A1", "B2", "C1", "C3", "C4", "D2", "E2"}));
}

TEST(SpamRules, ReplaceTags) {
  const Names hit = spam_hits(
      "replace_tag A [a\\@]\nreplace_tag B (?:b|8)\nreplace_tag N <A><B>\n"
      "replace_inter W2 \\W{0,2}\nreplace_post P2 {1,2}\nreplace_pre P3 (?:^|x)\n"
      "body T1 /^<A><B>c/\nbody T2 /<inter W2>^<A><B>/\nbody T3 /<post P2>^<A>q/\nbody T4 "
      "/<N>c/\nbody T5 /<A>/\n"
      "replace_rules T1 T2\nreplace_rules T3 T4\n",
      "Subject: y\n\n@8c\n\n@-8\n\n@@q\n");
  EXPECT_EQ(hit, (Names{"T1", "T2", "T3", "T4"}));
}

// Patterns that Hyperscan cannot express, and those with octets above 127.
TEST(SpamRules, SecondLook) {
  const Names hit = spam_hits(
      "body A1 /(\\w)\\1\\1/\nbody A2 /foo(?!bar)/\nbody A3 /(?<=x)foo/\nbody A4 "
      "/(?:^|[^a])foo(?:$|\\s)/\n"
      "body A5 /[vV\\xc3][\\xa0-\\xbf]?iagra/\nbody A6 /\\xc3\\xad/\nbody A7 /(?>a+)b/\n"
      "body A8 /(?=.{0,9}q)f/\nbody A9 /never{2,400}more/\n",
      "Subject: y\n\naaab foo\n\nV\xc3\xadiagra\n");
  EXPECT_EQ(hit, (Names{"A1", "A2", "A4", "A5", "A6", "A7"}));
  EXPECT_EQ(spam_hits("body A5 /[vV\\xc3][\\xa0-\\xbf]?iagra/\n", "Subject: y\n\nviagra\n"),
            (Names{"A5"}));
}

TEST(SpamRules, RulesThatJudgeTheReceivingSideAreOffForMailThatLeaves) {
  const SpamRuleset rules(
      "header RDNS_NONE X-Spam-Relays-External =~ /rdns= /\nmeta OTHER RDNS_NONE\nscore OTHER 2\n");
  spam::SpamScan::Options options;
  options.flow.client = "203.0.113.9";
  options.flow.helo = "laptop";
  options.flow.outbound = true;
  options.outbound = true;
  EXPECT_EQ(rules.run("Subject: y\n\nx\n", 0, options).names, (Names{}));
  options.outbound = false;
  EXPECT_EQ(rules.run("Subject: y\n\nx\n", 0, options).names, (Names{"RDNS_NONE", "OTHER"}));
}

}  // namespace
}  // namespace sluice::test
