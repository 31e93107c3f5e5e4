// Forms of Received fields: the quick way finds what trying all regexes in order would.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "dataplane/spam/evals.h"
#include "dataplane/spam/octets.h"
#include "dataplane/spam/received_forms.h"
#include "dataplane/spam/received_matcher.h"
#include "dataplane/spam/relays.h"

namespace sluice::test {
namespace {

using spam::ReceivedMatcher;

const std::string_view kLines[] = {
    "a.example (b.example [192.0.2.1]) by mx.example (8.11.6/8.11.6) with ESMTP id g6 for <x@y.z>",
    "a (b [192.0.2.1] (may be forged)) by mx.example (8.9.3) with SMTP id x",
    "a.example (b.example [192.0.2.1]) by mx.example (Postfix) with ESMTP id ABC",
    "a.example ([192.0.2.1] helo=x ident=y) by mx.example with esmtp (Exim 3.31) id 17-00 for "
    "<x@y>",
    "unknown (HELO h.example) (192.0.2.9) by mx.example with SMTP",
    "unknown (HELO h) (id@127.0.0.1) (envelope-sender <a@b.c>) by mx.example (qmail-ldap) with "
    "QMQP",
    "x ([192.0.2.1]) by mx.example with Microsoft SMTPSVC(5.0.2195.5329)",
    "mail pickup service by hotmail.com with Microsoft SMTPSVC",
    "y [127.0.0.1] by localhost with IMAP (fetchmail-5.9.0) for z@localhost (single-drop)",
    "[192.0.2.1] (helo=p7q1e) by mx.example with esmtp (Exim 4.05) id 17-00 for x@y",
    "[192.0.2.1] by web.example via HTTP",
    "einstein.example (cpunks@[192.0.2.4]) by hq.example (8.12.5/8.12.5) with ESMTP id g",
    "localhost (root@localhost) by localhost.localdomain (8.11.6/8.11.6) with ESMTP id g",
    "a.example (a.example [IPv6:2001:db8::1]) by mx.example (Postfix) with ESMTPS id A",
    "qmail by mx.example (x) (qmail-1) with SMTP [::ffff:192.0.2.1]",
    "X-Originating-IP: 192.0.2.7",
    "SpoolDir by EMS-SRV0 (Mercury 1.44) id x; via smtpd (for x) with SMTP(1)",
};

std::string mutate(std::string line, std::mt19937& random) {
  const std::string_view pieces[] = {
      " ",          "(",    ")",         "[",   "]", " by ", "(Exim)", "@",
      "[10.0.0.1]", "::1",  "127.0.0.1", "1",   ".", ":",    "x ",     " (Postfix) with",
      " with ",     " id ", "localhost", "\x80"};
  for (std::size_t n = random() % 4; n > 0; --n) {
    const std::size_t at = random() % (line.size() + 1);
    const std::string_view other = kLines[random() % std::size(kLines)];
    switch (random() % 3) {
      case 0:
        line.insert(at, pieces[random() % std::size(pieces)]);
        break;
      case 1:
        line.erase(at, random() % 5);
        break;
      default:
        line = line.substr(0, at) + std::string(other.substr(random() % other.size()));
    }
  }
  line.resize(spam::squeeze(line, line.data()));
  return line;
}

TEST(SpamReceived, FormsAsTheirRegexesInOrder) {
  const ReceivedMatcher matcher;
  std::vector<scan::Regex> regexes;
  for (const auto& form : spam::kReceivedForms)
    regexes.push_back(spam::constant_regex(form.pattern));
  scan::RegexScratch scratch;
  std::mt19937 random(1);
  std::size_t found = 0;
  for (int n = 0; n < 4000; ++n) {
    const std::string line = mutate(std::string(kLines[random() % std::size(kLines)]), random);
    scan::Regex::Match m;
    std::size_t first = 0;
    for (; first < regexes.size(); ++first) {
      if (line.find(spam::kReceivedForms[first].guard) != std::string::npos &&
          regexes[first].find(line, scratch, &m))
        break;
    }
    ReceivedMatcher::Groups groups{};
    const std::string_view* fields =
        matcher.find(line, matcher.trigrams().of(line), scratch, groups);
    ASSERT_EQ(fields != nullptr, first < regexes.size()) << line;
    if (fields == nullptr) continue;
    ++found;
    ASSERT_EQ(*fields, spam::kReceivedForms[first].fields) << line;
    for (const char c : *fields) {
      if (!spam::is_digit(c)) continue;
      ASSERT_EQ(groups[static_cast<std::size_t>(c - '0')], m.group(line, c - '0')) << line;
    }
  }
  EXPECT_GT(found, 2000u);
}

TEST(SpamReceived, SimpleFormsAsTheirRegexes) {
  scan::RegexScratch scratch;
  std::mt19937 random(2);
  std::size_t simple_forms = 0;
  for (const auto& form : spam::kReceivedForms) {
    const auto simple = ReceivedMatcher::Simple::read(form.pattern);
    if (!simple) continue;
    ++simple_forms;
    const scan::Regex regex = spam::constant_regex(form.pattern);
    for (int n = 0; n < 400; ++n) {
      const std::string line = mutate(std::string(kLines[random() % std::size(kLines)]), random);
      ReceivedMatcher::Groups groups{};
      const auto answer = simple->match(line, groups);
      if (answer == ReceivedMatcher::Simple::Answer::unknown) continue;
      ASSERT_EQ(answer == ReceivedMatcher::Simple::Answer::yes, regex.find(line, scratch))
          << form.pattern << "\n"
          << line;
    }
  }
  EXPECT_GT(simple_forms, 30u);
}

TEST(SpamReceived, WhatWouldBeQuadraticIsLeftToPcre) {
  using Answer = ReceivedMatcher::Simple::Answer;
  const auto answer = [](std::string_view pattern, std::string_view text) {
    ReceivedMatcher::Groups groups;
    return ReceivedMatcher::Simple::read(pattern)->match(text, groups);
  };
  constexpr std::string_view kTwoWords = R"(^\S+\@\S+ by \S+ )";
  EXPECT_EQ(answer(kTwoWords, "a@b by c "), Answer::yes);
  EXPECT_EQ(answer(kTwoWords, std::string(60, '@') + " of c "), Answer::no);
  EXPECT_EQ(answer(kTwoWords, std::string(8000, '@') + " of c "), Answer::unknown);
  EXPECT_EQ(answer(R"(^(\S+)\.(\S+)\[(%I)\] )", std::string(4000, '.') + std::string(4000, '[')),
            Answer::unknown);
}

TEST(SpamReceived, DatesAsTheirRegex) {
  const scan::Regex regex = spam::constant_regex(R"(\s.?\d+ \S\S\S \d+ \d+:\d+:\d+ \S+)");
  scan::RegexScratch scratch;
  std::mt19937 random(4);
  std::size_t dates = 0;
  const std::string_view pieces[] = {" ",
                                     "12 ",
                                     "\t",
                                     "Jan ",
                                     "1:2:3 ",
                                     "2024 ",
                                     ",",
                                     "x",
                                     ":",
                                     "\n",
                                     "; Mon, 1 Jan 2024 10:00:00 +0000"};
  for (int n = 0; n < 20000; ++n) {
    std::string text = "by x; Tue, 22 Jan 2024 10:00:59 +0100 (CET)";
    for (std::size_t k = random() % 4; k > 0; --k) {
      const std::size_t at = random() % (text.size() + 1);
      if (random() % 2 == 0)
        text.erase(at, random() % 3);
      else
        text.insert(at, pieces[random() % std::size(pieces)]);
    }
    scan::Regex::Match m;
    const bool found = regex.find(text, scratch, &m);
    dates += found ? 1 : 0;
    ASSERT_EQ(spam::date_in(text), found ? m.group(text, 0) : std::string_view()) << text;
  }
  EXPECT_GT(dates, 5000u);
}

TEST(SpamReceived, Has) {
  std::mt19937 random(5);
  for (int n = 0; n < 5000; ++n) {
    std::string text;
    for (std::size_t i = random() % 70; i > 0; --i) text += "aab"[random() % 3];
    std::string part;
    for (std::size_t i = 1 + random() % 6; i > 0; --i) part += "aab"[random() % 3];
    ASSERT_EQ(spam::has(text, part), text.find(part) != std::string::npos) << text << " " << part;
  }
}

TEST(SpamReceived, Squeezed) {
  std::mt19937 random(3);
  for (int n = 0; n < 2000; ++n) {
    std::string text;
    for (std::size_t i = random() % 60; i > 0; --i) text += "ab  \t\nc\x80"[random() % 8];
    std::string wanted;
    bool blank = false;
    for (const char c : text) {
      if (!spam::is_space(c)) {
        wanted += c;
      } else if (!blank) {
        wanted += ' ';
      }
      blank = spam::is_space(c);
    }
    spam::String got(text);
    spam::squeeze(got);
    ASSERT_EQ(std::string(got), wanted) << text;
  }
}

}  // namespace
}  // namespace sluice::test
