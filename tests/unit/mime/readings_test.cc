// What mail programs read in more than one way, or more tolerantly than the RFCs: names,
// boundaries, fragments, line ends, charset labels. Each reading is found, at every cut.
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
  const Recorder r = run(attachment("Content-Disposition: attachment; " + parameters + "\r\n"));
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
  EXPECT_EQ(name_of("filename*0*=utf-8''a%20b; filename*1=\" c.exe\""), Name("a b c.exe", false));
  EXPECT_EQ(name_of("filename*0*=utf-8''=%3Futf-8%3FQ%3Fp; filename*1=\"=2Eexe?=\""),
            Name("p.exe", true));
  EXPECT_EQ(name_of("filename*0=p; filename*1=.exe (c)"), Name("p.exe", true));
}

TEST(MimeReadings, NulInAName) {
  using Name = std::pair<std::string, bool>;
  EXPECT_EQ(name_of("filename=\"p.exe\0.txt\""s), Name("p.exe", true));
  EXPECT_EQ(name_of("filename*=utf-8''p.exe%00.txt"), Name("p.exe", true));
  EXPECT_EQ(name_of("filename=\"=?utf-8?Q?p.exe=00.txt?=\""), Name("p.exe", true));
  EXPECT_EQ(name_of("filename=\"r.txt\0.exe\""s), Name("r.txt\0.exe"s, false));
}

// An escape of RFC 2231 may be cut up by the pieces, as Python and others join first.
TEST(MimeReadings, EscapesInPiecesOfAName) {
  using Name = std::pair<std::string, bool>;
  EXPECT_EQ(name_of("filename*0*=utf-8''p%2; filename*1*=Eexe"), Name("p.exe", false));
  EXPECT_EQ(name_of("filename*0*=utf-8''p%; filename*1*=2; filename*2*=Eexe"),
            Name("p.exe", false));
  EXPECT_EQ(name_of("filename*0*=utf-8''50%; filename*1*=%2Eexe"), Name("50%.exe", false));
  EXPECT_EQ(name_of("filename*0*=utf-8''p%2; filename*1=Eexe"), Name("p%2Eexe", false));
}

TEST(MimeReadings, TransferEncodingsThatReadersTakeForAnother) {
  const auto both = [](const std::string& value, const std::string& octets) {
    return run("Content-Type: application/x\r\nContent-Transfer-Encoding: " + value + "\r\n\r\n" +
               octets);
  };
  for (const std::string& value : {"base64,7bit"s,
                                   "7bit,base64"s,
                                   "7bit base64"s,
                                   "base64 7bit"s,
                                   "base64:"s,
                                   "base64."s,
                                   "base64\0"s,
                                   "\0base64"s,
                                   "\x0b"s + "base64",
                                   "x-base64"s,
                                   "ba(c)se64"s,
                                   "(c)base64"s,
                                   "<base64>"s,
                                   "'base64'"s,
                                   "base-64"s,
                                   "Base64 encoded"s,
                                   "=?utf-8?q?base64?="s,
                                   "\xa0"s + "base64",
                                   "mime64"s,
                                   "x-b64"s}) {
    EXPECT_TRUE(holds_file(both(value, kCoded))) << value;
    if (value[0] == '7' || value[0] == 'x') {
      EXPECT_EQ(both(value, "XSIGNATUREX").parts.at(0).decoded, "XSIGNATUREX") << value;
    }
  }
  EXPECT_TRUE(both("quoted-printable,8bit", "XSIG=4EATUREX").sees("XSIGNATUREX"));
  EXPECT_TRUE(both("x-quotedprintable", "XSIG=4EATUREX").sees("XSIGNATUREX"));
  EXPECT_EQ(both("8bit", kCoded).parts.size(), 1u);
  for (const std::string& front : {"\xef\xbb\xbf"s, "\0"s, "\r"s, "\x01"s, "\xa0"s}) {
    const std::string message = "X-A: y\r\n" + front +
                                "Content-Transfer-Encoding: base64\r\n"
                                "Content-Type: application/x\r\n\r\n" +
                                kCoded;
    EXPECT_TRUE(holds_file(run(message))) << front;
    EXPECT_TRUE(holds_file(run(message.substr(8)))) << front;
  }
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

TEST(MimeReadings, CharsetLabelsOfTheEncodingStandard) {
  // The text, and the labels of an encoding that Python or iconv wrote it in.
  const struct {
    std::string text, octets;
    std::vector<std::string> labels;
  } table[] = {
      {"мир", "\xec\xe8\xf0", {"x-cp1251", "CP1251", "windows-1251", "win-1251"}},
      {"мир", "\xcd\xc9\xd2", {"koi", "koi8", "cskoi8r", "koi8_r", "koi8-ru"}},
      {"мир", "\xac\xa8\xe0", {"866", "csibm866"}},
      {"мир", "\xec\xe8\xf0", {"x-mac-ukrainian", "x-mac-cyrillic"}},
      {"你好",
       "\xc4\xe3\xba\xc3",
       {"chinese", "csiso58gb231280", "gb_2312-80", "iso-ir-58", "x-gbk", "gb2312"}},
      // GBK in what is called GB 2312.
      {"镕", "\xe9\x46", {"gb2312", "GB_2312"}},
      {"中文", "\xa4\xa4\xa4\xe5", {"cn-big5", "x-x-big5", "csbig5", "big5"}},
      {"日本", "\x93\xfa\x96\x7b", {"ms932", "csshiftjis", "x-sjis"}},
      {"①", "\x87\x40", {"shift_jis", "sjis"}},
      {"한국", "\xc7\xd1\xb1\xb9", {"korean", "csksc56011987", "ksc_5601", "iso-ir-149"}},
      {"똠", "\x8c\x63", {"euc-kr"}},
      {"שלום", "\xf9\xec\xe5\xed", {"visual", "logical", "csiso88598i", "hebrew"}},
      {"سلام", "\xd3\xe4\xc7\xe5", {"csiso88596e", "iso-8859-6-i", "arabic"}},
      {"ไทย", "\xe4\xb7\xc2", {"dos-874", "iso885911", "tis-620"}},
      {"ö€", "\xf6\x80", {"x-cp1252", "latin1", "iso-ir-100"}},
      {"ö", "\xf6", {"x-cp1250", "x-cp1254", "x-cp1257", "x-cp1258", "x-user-defined"}},
      {"γ", "\xe3", {"x-cp1253", "sun_eu_greek"}},
      {"ש", "\xf9", {"x-cp1255"}},
      {"س", "\xd3", {"x-cp1256"}},
      {"ü", "\xfc\0"s, {"csunicode", "unicodefeff", "ucs-2"}},
      {"ü", "\0\xfc"s, {"unicodefffe"}},
      {"ü", "\xc3\xbc", {"unicode20utf8", "x-unicode20utf8", "unicode11utf8"}},
  };
  for (const auto& row : table) {
    for (const std::string& label : row.labels) {
      const Recorder r =
          run("Content-Type: text/plain; charset=" + label + "\r\n\r\n" + row.octets);
      EXPECT_EQ(r.parts.at(0).text, row.text) << label;
      EXPECT_FALSE(r.has(Anomaly::charset)) << label;
    }
  }
}

TEST(MimeReadings, CharactersThatNobodySeesAreNoText) {
  for (const char* hidden :
       {"\u00ad", "\u034f", "\u061c", "\u115f", "\u17b4",     "\u180b",     "\u180e",    "\u200b",
        "\u200d", "\u202a", "\u202e", "\u2060", "\u2061",     "\u2064",     "\u2066",    "\u2069",
        "\u3164", "\ufe0f", "\ufeff", "\uffa0", "\U0001d173", "\U000e0020", "\U000e0100"}) {
    const std::string text = "vi"s + hidden + "agra " + hidden + hidden + "pills";
    EXPECT_EQ(run(html(text)).parts.at(0).text, "viagra pills") << hidden;
    const Recorder r = run(plain(text));
    EXPECT_EQ(r.parts.at(0).text, "viagra pills") << hidden;
    EXPECT_EQ(r.parts.at(0).decoded, text);
  }
  EXPECT_EQ(run(html("vi&#847;ag&InvisibleTimes;ra")).parts.at(0).text, "viagra");
  // Neighbours of those that are left out.
  const std::string seen =
      "\u00ae\u0350\u061d\u1161\u180a\u2010\u202f\u2070\u3165\ufdff\ufe10\uffa1";
  EXPECT_EQ(run(html(seen)).parts.at(0).text, seen);
  EXPECT_EQ(run(plain(seen)).parts.at(0).text, seen);
}

std::string with_line_ends(std::string text, const std::string& end) {
  for (std::size_t at = 0; (at = text.find("\r\n", at)) != std::string::npos; at += end.size())
    text.replace(at, 2, end);
  return text;
}

TEST(MimeReadings, LinesThatEndAtACr) {
  const std::string head = "Subject: s\r\nMIME-Version: 1.0\r\n";
  const std::string type = "Content-Type: multipart/mixed; boundary=o\r\n";
  const std::string parts = "--o\r\n\r\nhi\r\n--o\r\n" + attachment("") + "--o--\r\n";
  const std::string inner =
      "Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n" + attachment("") + "--i--\r\n";
  const std::string cr = "\r";
  const std::string messages[] = {
      // all of it; the body; from somewhere on; one delimiter
      with_line_ends(head + type + "\r\n" + parts, cr),
      head + type + "\r\n" + with_line_ends(parts, cr),
      head + type + "\r\npreamble\r\n" + with_line_ends(parts, cr),
      head + with_line_ends(type + "\r\n" + parts, cr),
      head + type + "\r\n--o\r\n\r\nhi" + with_line_ends(parts, cr),
      head + type + "\r\n--o\r\n\r\nhi\r--o\r\n" + attachment("") + "--o--\r\n",
      head + type + "\r\n--o\r\n\r\n--hi\r--o\r\n" + attachment("") + "--o--\r\n",
      head + type + "\r\n--o\r\n\r\n-\r--o\r\n" + attachment("") + "--o--\r\n",
      head + type + "\r\n--o\r\n\r\nhi\r\n--o \r" + attachment("") + "--o--\r\n",
      // with a line that is no field
      head + "X\r" + type + "\r\n" + parts,
      // behind a long line
      with_line_ends(head + "X-A: " + std::string(5000, 'x') + "\r\n" + type + "\r\n" + parts, cr),
      with_line_ends(head + "X-A: " + std::string(9000, 'x') + "\r\n" + type + "\r\n" + parts, cr),
      "Subject: " + std::string(4087, 'x') + with_line_ends("\r\n" + type + "\r\n" + parts, cr),
      type.substr(0, type.size() - 2) + std::string(8000, ' ') +
          with_line_ends("\r\n\r\n" + parts, cr),
      // inside another multipart or message
      head + type + "\r\n--o\r\n" + with_line_ends(inner, cr) + "\r\n--o--\r\n",
      head + type + "\r\n--o\r\nContent-Type: message/rfc822\r\n\r\n" + with_line_ends(inner, cr) +
          "\r\n--o--\r\n",
      head + type + "\r\n--o\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\nx\r\n" +
          with_line_ends("--i--\r\n" + parts, cr),
  };
  for (const std::string& m : messages) {
    const Recorder r = run(m);
    EXPECT_TRUE(holds_file(r)) << m;
    EXPECT_TRUE(r.has(Anomaly::bare_cr)) << m;
  }
  // What CRs do not divide.
  for (const char* text : {"10%\r--20%\r-30%", "x\r-", "\r\r-x", "a\rb"}) {
    const Recorder r =
        run(head + type + "\r\n--o\r\n\r\n" + text + "\r\n--o\r\n" + attachment("") + "--o--\r\n");
    EXPECT_EQ(r.parts.at(1).text, text);
    EXPECT_EQ(r.parts.at(2).decoded, kContent);
    EXPECT_FALSE(r.has(Anomaly::bare_cr)) << text;
  }
  EXPECT_FALSE(run(with_line_ends(head + "\r\nx\r\n", "\r\r\n")).has(Anomaly::bare_cr));
  const std::string coded = "Content-Transfer-Encoding: quoted-printable\r\n\r\n";
  EXPECT_EQ(run(coded + "XSIGNA=\rTURE= \rX").parts.at(0).decoded, "XSIGNATUREX");
  EXPECT_EQ(run(coded + "XSIGNA=\r\r\nTUREX").parts.at(0).decoded, "XSIGNATUREX");
  // Once in a message, whatever there is of it.
  std::string many = head + type + "\r\n";
  for (int i = 0; i < 20'000; ++i) many += "--o\r-\r--o\r\n";
  EXPECT_LT(run(many).parts.size(), 4'500u);
}

}  // namespace
}  // namespace sluice::mime
