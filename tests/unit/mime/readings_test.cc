// What mail programs read in more than one way, or more tolerantly than the RFCs: names, boundaries,
// fragments, line ends, charset labels. Each reading is found, at every cut.
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/unit/mime/run.h"

namespace sluice::mime {
namespace {

using contract::Anomaly;
using test::html;
using test::plain;
using test::Recorder;
using test::run;
using namespace std::string_literals;

constexpr std::string_view kContent = "the content XSIGNATUREX of the file";
const std::string kCoded = "dGhlIGNvbnRlbnQgWFNJR05BVFVSRVggb2YgdGhlIGZpbGU=\r\n";

std::string attachment(const std::string& fields) {
  return fields + "Content-Type: application/x-y\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
         kCoded;
}

// A multipart whose parameters and delimiters are given.
std::string multipart(const std::string& parameters, const std::string& boundary) {
  return "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; " + parameters + "\r\n\r\n--" +
         boundary + "\r\n" + attachment("") + "--" + boundary + "--\r\n";
}

bool holds_file(const Recorder& r) {
  for (const auto& [n, p] : r.parts)
    if (p.decoded == kContent || p.other == kContent) return true;
  return false;
}

// The name of a file with this Content-Disposition, and whether a second one was told.
std::pair<std::string, bool> name_of(const std::string& parameters) {
  const Recorder r =
      run(attachment("Content-Disposition: attachment; " + parameters + "\r\n"));
  return {r.parts.at(0).name, r.has(Anomaly::two_names)};
}

TEST(MimeReadings, BoundariesWithQuotedPairsAndComments) {
  const std::pair<std::string, std::string> table[] = {
      {R"(boundary="a\b")", "ab"},
      {R"(boundary="a\b")", R"(a\b)"},
      {R"(boundary="\a\b\c")", "abc"},
      {R"(boundary="a\"b\c")", R"(a"bc)"},
      {R"(boundary*0="a\b"; boundary*1="c")", "abc"},
      {"boundary(c)=(d)\"ab\"", "ab"},
      {"boundary (c) = (d) ab", "ab"},
      {"boundary=(d)ab", "ab"},
      {"boundary=(d)ab", "(d)ab"},
      {"boundary=ab(c)", "ab"},
      {"boundary=ab (c)", "ab"},
      {"boundary=ab, charset=x", "ab"},
      {"(a (n) \\) b) boundary=ab", "ab"},
      {"(never closed; boundary=ab", "ab"},
      {"x=y (a (b); boundary=ab", "ab"},
  };
  for (const auto& [parameters, boundary] : table)
    EXPECT_TRUE(holds_file(run(multipart(parameters, boundary)))) << parameters << " " << boundary;
}

TEST(MimeReadings, CommentsThatNeverEndCostNoTime) {
  const std::string brackets(200'000, '(');
  EXPECT_TRUE(holds_file(run(multipart("boundary=ab; " + brackets, "ab"))));
  std::string pairs;
  while (pairs.size() < 200'000) pairs += "(()";
  EXPECT_TRUE(holds_file(run(multipart("boundary=ab; " + pairs, "ab"))));
}

TEST(MimeReadings, NamesWithComments) {
  using Name = std::pair<std::string, bool>;
  EXPECT_EQ(name_of("filename(c)=(d)\"p.exe\""), Name("p.exe", false));
  EXPECT_EQ(name_of("filename (c)= p.exe"), Name("p.exe", false));
  EXPECT_EQ(name_of("filename=\"p.exe\" (comment)"), Name("p.exe", false));
  // What some take into the name ends it for others: the worse is judged.
  EXPECT_EQ(name_of("filename=p.exe (comment)"), Name("p.exe", true));
  EXPECT_EQ(name_of("filename=p.exe(comment)"), Name("p.exe", true));
  EXPECT_EQ(name_of("filename=(comment)p.exe"), Name("(comment)p.exe", false));
  EXPECT_EQ(name_of("filename=(1).pdf"), Name("(1).pdf", false));
  EXPECT_EQ(name_of("filename=report (1).pdf"), Name("report (1).pdf", false));
  EXPECT_EQ(name_of("filename=a, b.pdf"), Name("a, b.pdf", false));
  EXPECT_EQ(name_of(R"(filename="p.e\xe")"), Name("p.exe", true));
  EXPECT_EQ(name_of(R"(filename="C:\dir\p.exe")"), Name(R"(C:\dir\p.exe)", false));
}

TEST(MimeReadings, EncodedWordsInPiecesOfAName) {
  using Name = std::pair<std::string, bool>;
  EXPECT_EQ(name_of(R"(filename*0="=?utf-8?Q?p?="; filename*1="=?utf-8?Q?.exe?=")"),
            Name("p.exe", false));
  EXPECT_EQ(name_of(R"(filename*0="=?utf-8?B?cC5"; filename*1="leGU=?=")"), Name("p.exe", false));
  EXPECT_EQ(name_of(R"(filename*0="=?utf-8?Q?p=2E?="; filename*1=exe)"), Name("p.exe", false));
  EXPECT_EQ(name_of("filename*0*=utf-8''a%20b; filename*1=\" c.exe\""),
            Name("a b c.exe", false));
  EXPECT_EQ(name_of("filename*0*=utf-8''=%3Futf-8%3FQ%3Fp; filename*1=\"=2Eexe?=\""),
            Name("p.exe", true));
  EXPECT_EQ(name_of("filename*0=p; filename*1=.exe (c)"), Name("p.exe", true));
}

TEST(MimeReadings, TheFirstFragmentIsAMessage) {
  const std::string inner = "Subject: in\r\nMIME-Version: 1.0\r\n" + attachment("");
  for (const char* number : {"number=1; total=2", "number=01", "total=2", "number=\"1\""}) {
    const Recorder r =
        run("Content-Type: message/partial; id=\"x@y\"; "s + number + "\r\n\r\n" + inner);
    EXPECT_EQ(r.parts.at(1).decoded, kContent) << number;
    EXPECT_TRUE(r.has(Anomaly::partial_message));
  }
  const Recorder later =
      run("Content-Type: message/partial; id=\"x@y\"; number=2\r\n\r\na: http://a.test/p\r\n");
  EXPECT_EQ(later.all_urls(), std::vector<std::string>{"http://a.test/p"});
  EXPECT_EQ(later.parts.size(), 1u);
  EXPECT_TRUE(later.has(Anomaly::partial_message));
}

}  // namespace
}  // namespace sluice::mime
