// Rules are tried only where their words stand (scan/spam_words.h, scan/joined_text.h): that must
// not lose a hit. Each regex is put beside what PCRE2 says of each text alone.
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "control/policy/regex_joined.h"
#include "control/policy/regex_tree.h"
#include "control/policy/regex_words.h"
#include "dataplane/scan/joined_text.h"
#include "tests/unit/spam/spam_on_message.h"

namespace sluice::test {
namespace {

constexpr std::string_view kRegexes[] = {
    "/click here/i",
    "/\\bclaim(?:s|ing)?\\b/i",
    "/(?:prize|reward|award) (?:of|for) \\$?\\d/i",
    "/Nigeria/",
    "/(?:send|give|tell) (?:me|us) your? (?i:PASSWORD)/",
    "/(?i)Dear (?:friend|customer)/",
    "/wo+nder(?:ful)?s?/i",
    "/ab{2,3}cd/i",
    "/(?:name|age|sex)[ :_.]{1,9}(?:name|age|sex)[ :_.]{1,9}/i",
    "/(?:(?:name|address|phone)[ :_.]{1,40}){3}/i",
    "/(?:(?:name|phone)[ :.]+){2,}end/i",
    "/free\\s$/i",
    "/^\\s*unsubscribe/i",
    "/\\$\\d{1,3},\\d{3}/",
    "/(?!viagra)v[i1!|l][a4@]gr[a4@]/i",
    "/\\b_{0,3}v[_\\W]?[i1!|l][_\\W]?[a4@][_\\W]?g[_\\W]?r[_\\W]?[a4@]/i",
    "/(?:[pP\\xd1])(?:[hH]|&\\#104;){1,2}\\W?[e3]{1,2}\\W?n{1,2}/i",
    "/(?:\\\\\\/|V)[_\\W]{0,3}[a4@][_\\W]{0,3}[l|][_\\W]{0,3}[i1!|l][_\\W]{0,3}u[_\\W]{0,3}m/i",
    "/m(?:il|11)+i[o0]n/i",
    "/(\\w{4,}) \\1 here/",
    "/(?<!not )worth(?= it)/i",
    "/caf\\xc3\\xa9/i",
    "/[a-z]{12,}/",
    "/e/",
    "/\\S/",
};

constexpr std::string_view kTexts[] = {
    "Please CLICK here now",
    "clickhere or click  here",
    "We claim that claims and reclaiming are acclaimed",
    "reclaimed",
    "a prize of $5 and an award for 7",
    "Nigeria and nigeria",
    "nigeria",
    "send us your Password, tell me you password",
    "dear Customer, DEAR FRIEND",
    "woooonderful, wnder",
    "xABBCDx abcd abbbcd abbbbcd",
    "name: age: none",
    "Name ____ sex... ",
    "name: address: phone: end",
    "name: address: end",
    "name: phone: end",
    "phone: message end",
    "this is free",
    "free of charge",
    "unsubscribe me",
    "to unsubscribe",
    "pay $25,000 or $ 25",
    "viagra",
    "v1agra and V I A G R A",
    "v.i.@.g.r.4 v!agr@",
    "_v_l_a_g_r_a_",
    "PHHEENN p&#104;e n p-h-3-n",
    "\\/ A L I U M or v@||um",
    "valium v-a-1-!-u-m",
    "m1li0n milIion milililion m11ion",
    "word word here, test tests here",
    "not worth it; worth it",
    "not worth it",
    "cafe caf\xc3\xa9 CAF\xc3\xa9",
    "incomprehensibilities",
    "12345 67890",
};

TEST(SpamWords, LoseNoHit) {
  scan::RegexScratch scratch;
  for (const std::string_view regex : kRegexes) {
    const std::size_t end = regex.rfind('/');
    const bool caseless = regex.substr(end + 1) == "i";
    const auto alone =
        scan::Regex::make(regex.substr(1, end - 1), caseless ? scan::kRegexCaseless : 0);
    ASSERT_TRUE(alone) << regex;
    const SpamRuleset rules("body T " + std::string(regex) + "\nscore T 1\n" +
                            "header S Subject =~ " + std::string(regex) + "\nscore S 1\n");
    for (const std::string_view text : kTexts) {
      // As the paragraph looks: white space is one blank, a line end behind it.
      std::string paragraph(text);
      for (std::size_t at; (at = paragraph.find("  ")) != std::string::npos;)
        paragraph.erase(at, 1);
      paragraph += '\n';
      const bool expected = alone->find(paragraph, scratch);
      const auto result = rules.run("Subject:\n\n" + std::string(text) + "\n");
      EXPECT_EQ(result.names.contains("T"), expected || alone->find("\n", scratch))
          << regex << " on " << text;
    }
  }
}

std::string clauses_of(std::string_view pattern, bool caseless = true) {
  const auto tree = control::RegexTree::read(pattern, caseless ? scan::kRegexCaseless : 0);
  if (!tree) return "unread";
  std::string all;
  for (const auto& clause : control::regex_clauses(*tree, {.caseless = caseless}, 4)) {
    all += all.empty() ? "" : " & ";
    for (const auto& word : clause.words) {
      all += (word.begins_word ? "\\b" : "") + word.octets + (word.ends_word ? "\\b" : "") + '|';
    }
    all.back() = clause.least > 1 ? static_cast<char>('0' + clause.least) : ';';
  }
  return all;
}

TEST(SpamWords, AreWhatARegexNeeds) {
  EXPECT_EQ(clauses_of("\\bmortgage\\b"), "\\bmortgage\\b;");
  EXPECT_EQ(clauses_of("(?:refinance|mortgage).{0,9}rates"), "mortgage|refinance; & rates;");
  EXPECT_EQ(clauses_of("colou?rful"), "colorful|colourful;");
  EXPECT_EQ(clauses_of("(?:(?:passport|mortgage)\\W+){3}"), "passport|mortgage3");
  EXPECT_EQ(clauses_of("(?:mortgage)?"), "");                     // need not be there
  EXPECT_EQ(clauses_of("(?:mortgage|.*)"), "");                   // one way needs nothing
  EXPECT_EQ(clauses_of("[a-z]+"), "");                            // too many
  EXPECT_EQ(clauses_of("the"), "");                               // too common to help
  EXPECT_EQ(clauses_of("mortgages?|mortgage now"), "mortgage;");  // in the others
}

TEST(JoinedText, IsLettersAndMarks) {
  std::string joined;
  scan::join_text("V.i_@ G--r4 00ps 1l", joined);
  EXPECT_EQ(joined, "vi!graopsi");
  joined.clear();
  scan::join_text("", joined);
  EXPECT_EQ(joined, "");
  joined.clear();
  scan::join_text(" .,- ", joined);
  EXPECT_EQ(joined, "");
}

}  // namespace
}  // namespace sluice::test
