// Section B of the wire cases (and A19, F11) at the level of the parser: each case builds its
// octets itself and is run whole, octet by octet, in 536 octets and in random cuts with one result.
#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <string>

#include "tests/unit/mime/run.h"

namespace sluice::mime {
namespace {

using contract::Anomaly;
using test::html;
using test::plain;
using test::Recorder;
using test::run;
using test::text_message;
using namespace std::string_literals;

std::string base64(std::string_view text) {
  std::string out(4 * ((text.size() + 2) / 3) + 1, '\0');
  const int n = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                reinterpret_cast<const unsigned char*>(text.data()),
                                static_cast<int>(text.size()));
  out.resize(static_cast<std::size_t>(n));
  return out;
}

std::string base64_lines(std::string_view text, std::size_t width = 76) {
  const std::string all = base64(text);
  std::string out;
  for (std::size_t i = 0; i < all.size(); i += width) out += all.substr(i, width) + "\r\n";
  return out;
}

// A multipart with a text and one attachment in base64 that holds `secret`.
std::string mixed(const std::string& content_type, const std::string& boundary,
                  const std::string& secret) {
  return "Subject: x\r\n" + content_type + "\r\n--" + boundary +
         "\r\nContent-Type: text/plain\r\n\r\nhello\r\n--" + boundary +
         "\r\nContent-Type: application/octet-stream; name=\"a.bin\"\r\n"
         "Content-Transfer-Encoding: base64\r\n\r\n" +
         base64_lines(secret) + "--" + boundary + "--\r\n";
}

const std::string kSecret = "the quick SIGNATURE jumps over the lazy appliance";

TEST(MimeCases, B02_Base64WithJunk) {
  const std::string content =
      "0123456789abcdefghijklmnopqrstuvwxyz and more than one line of it, to be cut everywhere";
  const std::string coded = base64(content);
  std::string body = coded.substr(0, 1) + "\r\n" + coded.substr(1, 3) + "  \r\n" +
                     coded.substr(4, 5) + "\r\n; * # %\r\n" + coded.substr(9, 77) + "\r\n \t \r\n" +
                     coded.substr(86);
  const Recorder r =
      run("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: application/x\r\n"
          "Content-Transfer-Encoding: base64\r\n\r\n" +
          body + "--b--\r\n");
  // No line end before the boundary: the line belongs to the base64, whose junk is skipped.
  EXPECT_EQ(r.parts.at(1).decoded.substr(0, content.size()), content);
  EXPECT_TRUE(r.has(Anomaly::bad_base64));
  const Recorder closed =
      run("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: application/x\r\n"
          "Content-Transfer-Encoding: base64\r\n\r\n" +
          body + "\n--b--\r\n");
  EXPECT_EQ(closed.parts.at(1).decoded, content);
}

TEST(MimeCases, B02_Base64PaddingInTheMiddleLosesNothing) {
  const Recorder r =
      run("Content-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64("a") +
          "\r\n" + base64("bc") + base64("def") + "\r\nZw");
  EXPECT_EQ(r.parts.at(0).decoded, "abcdefg");
  EXPECT_TRUE(r.has(Anomaly::bad_base64));
}

TEST(MimeCases, B02_PaddingIsMalformedOnlyInTheMiddle) {
  const std::string header = "Content-Transfer-Encoding: base64\r\n\r\n";
  const Recorder middle = run(header + base64("a") + base64("def") + base64("b"));
  EXPECT_EQ(middle.parts.at(0).decoded, "adefb");
  EXPECT_TRUE(middle.has(Anomaly::bad_base64));
  EXPECT_FALSE(run(header + base64_lines("abcd") + "\r\n").has(Anomaly::bad_base64));
  EXPECT_FALSE(run(header + base64_lines("abc", 3)).has(Anomaly::bad_base64));
}

TEST(MimeCases, B02_DuplicateTransferEncodingIsReadBothWays) {
  for (const bool base64_first : {true, false}) {
    const std::string first = base64_first ? "base64" : "7bit";
    const std::string second = base64_first ? "7bit" : "base64";
    std::string message = "Content-Type: text/plain\r\nContent-Transfer-Encoding: ";
    message.append(first).append("\r\nContent-Transfer-Encoding: ").append(second);
    const Recorder r = run(message.append("\r\n\r\n").append(base64_lines(kSecret)));
    EXPECT_TRUE(r.sees("SIGNATURE"));
    EXPECT_TRUE(r.sees(base64(kSecret).substr(0, 60)));
    EXPECT_TRUE(r.has(Anomaly::dup_cte));
  }
  const Recorder same =
      run("Content-Transfer-Encoding: base64\r\nContent-Transfer-Encoding: BASE64\r\n\r\n" +
          base64_lines(kSecret));
  EXPECT_EQ(same.parts.at(0).decoded, kSecret);
  EXPECT_TRUE(same.has(Anomaly::dup_cte));
}

TEST(MimeCases, B02_ContainersWithTwoEncodings) {
  const std::string inner = "Subject: B\r\n\r\n" + kSecret + "\r\n";
  for (const char* order :
       {"7bit\r\nContent-Transfer-Encoding: base64", "base64\r\nContent-Transfer-Encoding: 7bit"}) {
    const Recorder r = run("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: "s + order +
                           "\r\n\r\n" + base64_lines(inner));
    EXPECT_TRUE(r.sees("SIGNATURE")) << order;
  }
  // A multipart must not be encoded (RFC 2045 6.4); some readers undo it all the same.
  const std::string parts = mixed("", "b", kSecret).substr(14);
  const Recorder r =
      run("Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
          base64_lines(parts));
  EXPECT_TRUE(r.sees("SIGNATURE"));
}

TEST(MimeCases, B03_UrlOverBase64LinesOnce) {
  std::string text = "Look here, it is at " + std::string(33, '.') + " http://a.test/p\r\n";
  for (std::size_t shift = 0; shift < 30; ++shift) {
    const std::string message =
        "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
        base64_lines(text);
    Recorder r;
    test::parse(r, message, 0, test::all_wanted());
    EXPECT_EQ(r.all_urls(), std::vector<std::string>{"http://a.test/p"}) << shift;
    if (shift % 10 == 0) run(message);
    text.insert(0, ".");
  }
  const Recorder q =
      run("Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
          "<a href=3D\"https://b.te=\r\nst/x\">there</a>");
  EXPECT_EQ(q.all_urls(), std::vector<std::string>{"https://b.test/x"});
}

TEST(MimeCases, B05_BoundaryAbsentOrDashes) {
  for (const char* boundary : {"-", "----", "b"}) {
    const Recorder r = run("Content-Type: multipart/mixed; boundary=\""s + boundary +
                           "\"\r\n\r\nplain " + kSecret + "\r\nhttp://a.test/p\r\n");
    EXPECT_TRUE(r.sees("SIGNATURE")) << boundary;
    EXPECT_EQ(r.all_urls(), std::vector<std::string>{"http://a.test/p"});
    EXPECT_TRUE(r.has(Anomaly::missing_boundary));
  }
  const Recorder dashes =
      run(mixed("Content-Type: multipart/mixed; boundary=\"----\"\r\n", "----", kSecret));
  EXPECT_EQ(dashes.parts.at(2).decoded, kSecret);
}

TEST(MimeCases, B05_PreambleEpilogueAndEarlyClose) {
  const std::string message =
      "Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble PRE "
      "http://pre.test/\r\n--b\r\n\r\n"
      "text\r\n--b--\r\nepilogue EPI http://epi.test/\r\n";
  const Recorder r = run(message);
  EXPECT_EQ(r.parts.at(0).other, "preamble PRE http://pre.test/epilogue EPI http://epi.test/\r\n");
  EXPECT_EQ(r.parts.at(1).decoded, "text");
  EXPECT_EQ(r.all_hosts(), (std::vector<std::string>{"pre.test", "epi.test"}));
  // The end before any part; parts after the end.
  const Recorder early =
      run("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b--\r\n\r\n--b\r\nContent-Type: "
          "application/x; name=x.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
          base64_lines(kSecret) + "--b--\r\n");
  EXPECT_TRUE(early.sees("SIGNATURE"));
  EXPECT_TRUE(early.has(Anomaly::bad_boundary));
}

TEST(MimeCases, B05_NoBoundaryParameterAtAll) {
  const Recorder r = run(mixed("Content-Type: multipart/mixed\r\n", "whatever", kSecret));
  EXPECT_TRUE(r.sees("SIGNATURE"));
  EXPECT_TRUE(r.has(Anomaly::bad_boundary));
}

TEST(MimeCases, B06_LineEndBeforeDelimiter) {
  for (const char* end : {"\r\n", "\n"}) {
    const Recorder r = run(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; "
        "name=a.txt\r\n\r\nabc"s +
        end + "--b\r\nContent-Type: text/plain; name=e.txt\r\n\r\n--b\r\n\r\n" + end + "--b--\r\n");
    EXPECT_EQ(r.parts.at(1).octets, 3u);
    EXPECT_EQ(r.parts.at(1).md5, "900150983cd24fb0d6963f7d28e17f72");
    EXPECT_EQ(r.parts.at(2).octets, 0u);
    EXPECT_EQ(r.parts.at(2).md5, "d41d8cd98f00b204e9800998ecf8427e");
    EXPECT_EQ(r.parts.at(3).octets, 0u);
  }
  const Recorder q =
      run("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: "
          "quoted-printable\r\n\r\na\r\n\r\n\r\nb\r\n\r\n--b--\r\n");
  EXPECT_EQ(q.parts.at(1).decoded, "a\r\n\r\n\r\nb\r\n");
}

std::string digest_of(const EVP_MD* algorithm, std::string_view octets) {
  std::uint8_t digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  EVP_Digest(octets.data(), octets.size(), digest, &size, algorithm, nullptr);
  std::string hex;
  for (unsigned i = 0; i < size; ++i) {
    hex += "0123456789abcdef"[digest[i] >> 4];
    hex += "0123456789abcdef"[digest[i] & 15];
  }
  return hex;
}

TEST(MimeCases, B07_AttachedMessageIsAFileToo) {
  const std::string inner =
      "Subject: B\r\nContent-Type: multipart/mixed; "
      "boundary=i\r\n\r\npreamble\r\n--i\r\n\r\none\r\n"
      "--i\r\nContent-Type: application/x; name=in.bin\r\n\r\ntwo\r\n--i--\r\nepilogue";
  const std::string deeper =
      "Subject: C\r\nContent-Type: message/rfc822; name=b.eml\r\n\r\n" + inner;
  const std::string outer =
      "Subject: A\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n\r\nhi\r\n--o\r\n"
      "Content-Type: message/rfc822\r\nContent-Disposition: attachment; filename=m.eml\r\n";
  for (const std::string& message : {inner, deeper, "\r\n"s, ""s, "no header at all\r\n--i\r\n"s}) {
    const std::string ways[] = {
        outer + "\r\n" + message + "\r\n--o--\r\n",
        outer + "Content-Transfer-Encoding: base64\r\n\r\n" + base64_lines(message) + "--o--\r\n",
        outer + "\r\n" + message + "\r\n--o\r\n\r\nmore\r\n--o--\r\n",
        outer + "\r\n" + message,  // never ended
    };
    for (const std::string& way : ways) {
      const Recorder r = run(way);
      const auto& part = r.parts.at(2);
      EXPECT_EQ(part.octets, message.size()) << way;
      EXPECT_EQ(part.md5, digest_of(EVP_md5(), message)) << way;
      EXPECT_EQ(part.sha256, digest_of(EVP_sha256(), message)) << way;
    }
  }
  // Of the two that are nested, each is counted by itself.
  const Recorder r = run(outer + "\r\n" + deeper + "\r\n--o--\r\n");
  int found = 0;
  for (const auto& [n, p] : r.parts) found += p.sha256 == digest_of(EVP_sha256(), inner);
  EXPECT_EQ(found, 1);
}

TEST(MimeCases, B07_MessageAttachedAsAnyFile) {
  const std::string inner =
      "Subject: B\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n"
      "Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
      base64_lines("<a href='http://inner.test/x'>" + kSecret + "</a>") +
      "--i\r\nContent-Type: application/x; name=in.bin\r\nContent-Transfer-Encoding: "
      "base64\r\n\r\n" +
      base64_lines("binary " + kSecret) + "--i--\r\n";
  for (const std::string_view type :
       {"application/octet-stream", "text/plain", "image/png", "message/x-odd"}) {
    for (const std::string_view name : {"m.eml", "M.EML", " m.mht ", "m.mhtml"}) {
      for (const bool coded : {false, true}) {
        const std::string head =
            "Subject: A\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: " +
            std::string(type) + "\r\nContent-Disposition: attachment; filename=\"" +
            std::string(name) + "\"\r\n";
        const Recorder r = run(coded ? head + "Content-Transfer-Encoding: base64\r\n\r\n" +
                                           base64_lines(inner) + "--o--\r\n"
                                     : head + "\r\n" + inner + "\r\n--o--\r\n");
        EXPECT_TRUE(r.sees("binary " + kSecret)) << type << name << coded;
        const auto hosts = r.all_hosts();
        EXPECT_TRUE(std::find(hosts.begin(), hosts.end(), "inner.test") != hosts.end())
            << type << name << coded;
        EXPECT_EQ(r.parts.at(1).octets, inner.size()) << "and it is one file";
        EXPECT_EQ(r.parts.at(1).sha256, digest_of(EVP_sha256(), inner));
      }
    }
  }
}

TEST(MimeCases, B17_CharsetThatTheDocumentNames) {
  const std::string word = "\xf0\xe5\xea\xeb\xe0\xec\xe0";  // реклама in Windows-1251
  const std::string utf8 = "\xd1\x80\xd0\xb5\xd0\xba\xd0\xbb\xd0\xb0\xd0\xbc\xd0\xb0";
  const std::string metas[] = {
      "<meta charset=windows-1251>",
      "<META CHARSET = \"Windows-1251\" />",
      "<html><head><title>x > y</title><meta name=a content='charset=utf-8'><meta "
      "charset='windows-1251'>",
      "<meta http-equiv='Content-Type' content='text/html; charset=windows-1251'>",
      "<meta content=\"text/html;charset = 'windows-1251'\" http-equiv=content-type>",
      "<!-- <meta charset=utf-8> --><!DOCTYPE html><meta charset=windows-1251><meta charset=utf-8>",
      "<a title='<meta charset=utf-8>'></a><meta charset=windows-1251>",
      "<!--><meta charset=windows-1251>",
      std::string(900, ' ') + "<meta charset=windows-1251>",
  };
  for (const std::string& meta : metas) {
    const Recorder r = run("Content-Type: text/html\r\n\r\n" + meta + "<p>" + word + "</p>" +
                           std::string(2000, 'x'));
    EXPECT_NE(r.parts.at(0).text.find(utf8), std::string::npos) << meta;
    EXPECT_FALSE(r.has(Anomaly::charset)) << meta;
  }
  // Short documents, and what the header says of text that is read in place.
  EXPECT_EQ(
      run("Content-Type: text/html\r\n\r\n<meta charset=windows-1251>" + word).parts.at(0).text,
      utf8);
  EXPECT_EQ(
      run("Content-Type: text/html; charset=koi8-r\r\n\r\n<meta charset=windows-1251>\xd2\xc5")
          .parts.at(0)
          .text,
      "\xd1\x80\xd0\xb5");
  EXPECT_NE(run("Content-Type: text/html\r\n\r\n" + std::string(1100, ' ') +
                "<meta charset=windows-1251>" + word)
                .parts.at(0)
                .text,
            utf8);
  // Octets that could be read are not UTF-16.
  EXPECT_EQ(run("Content-Type: text/html\r\n\r\n<meta charset=utf-16>" + utf8).parts.at(0).text,
            utf8);
  // A file is read as it names itself, whatever the header said; UTF-16 by its mark.
  const std::string file =
      "Content-Type: text/html; charset=us-ascii\r\nContent-Disposition: attachment; "
      "filename=a.html\r\n\r\n";
  EXPECT_EQ(run(file + "<meta charset=windows-1251>" + word).parts.at(0).text, utf8);
  std::string wide = "\xff\xfe";
  for (const char c : "<a href=http://w.test/x>wide</a>"s) wide += {c, '\0'};
  EXPECT_EQ(run(file + wide).all_hosts(), std::vector<std::string>{"w.test"});
  EXPECT_EQ(run("Content-Type: text/html\r\n\r\n" + wide).all_hosts(),
            std::vector<std::string>{"w.test"});
}

TEST(MimeCases, B07_NestedMessage) {
  const std::string inner =
      "Received: from [192.0.2.999]\r\nSubject: B\r\nFrom: b@b.test\r\n" +
      mixed("Content-Type: multipart/mixed; boundary=inner\r\n", "inner", kSecret).substr(12);
  for (const bool encoded : {false, true}) {
    const Recorder r = run(
        "Subject: A\r\nFrom: a@a.test\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
        "Content-Type: message/rfc822\r\n"s +
        (encoded ? "Content-Transfer-Encoding: base64\r\n" : "") + "\r\n" +
        (encoded ? base64_lines(inner) : inner) + "\r\n--b--\r\n");
    EXPECT_EQ(r.subject(), "A");
    EXPECT_EQ(r.header(0, "From"), "a@a.test");
    ASSERT_EQ(r.parts.size(), 5u);
    EXPECT_TRUE(r.parts.at(1).nested);
    EXPECT_EQ(r.subject(2), "B");
    EXPECT_EQ(r.parts.at(2).parent, 1u);
    EXPECT_EQ(r.parts.at(4).parent, 2u);
    EXPECT_EQ(r.parts.at(4).decoded, kSecret);
    EXPECT_EQ(r.parts.at(4).name, "a.bin");
    EXPECT_TRUE(r.all_urls().empty());
  }
}

TEST(MimeCases, B08_DepthBombs) {
  std::string nested;
  for (int i = 0; i < 20'000; ++i) nested += "Content-Type: message/rfc822\r\n\r\n";
  nested += kSecret;
  const Recorder r = run(nested);
  EXPECT_TRUE(r.has(Anomaly::depth_limit));
  EXPECT_TRUE(r.sees("SIGNATURE"));
  EXPECT_LE(r.parts.size(), 20u);

  std::string multi;
  for (int i = 0; i < 500; ++i) {
    const std::string b = "b" + std::to_string(i);
    multi.append("Content-Type: multipart/mixed; boundary=").append(b);
    multi.append("\r\n\r\n--").append(b).append("\r\n");
  }
  multi += "\r\n" + kSecret;
  const Recorder m = run(multi);
  EXPECT_TRUE(m.has(Anomaly::depth_limit));
  EXPECT_TRUE(m.sees("SIGNATURE"));

  // In base64 in base64 in ...: each layer is a decoder of its own.
  std::string coded = kSecret;
  for (int i = 0; i < 20; ++i)
    coded = "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
            base64_lines(coded);
  Recorder c;
  test::parse(c, coded, 0, test::all_wanted());
  EXPECT_TRUE(c.has(Anomaly::depth_limit));
}

TEST(MimeCases, B08_PartBombAndLeadingLines) {
  std::string parts = "Content-Type: multipart/mixed; boundary=a\r\n\r\n";
  for (int i = 0; i < 300'000; ++i) parts += "--a\nx:y\n\n";
  parts += kSecret;
  const Recorder r = run(parts);
  EXPECT_TRUE(r.has(Anomaly::part_limit));
  EXPECT_TRUE(r.sees("SIGNATURE"));
  EXPECT_EQ(r.parts.size(), 1000u);

  std::string lines;
  for (int i = 0; i < 100'000; ++i) lines += "\r\n";
  const Recorder l = run(lines + "Subject: late\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
                         base64_lines(kSecret));
  EXPECT_TRUE(l.sees("SIGNATURE"));  // to those who skip blank lines before the header
}

TEST(MimeCases, B09_BoundaryForms) {
  const std::string long_boundary(300, 'x');
  const struct {
    std::string header, boundary;
  } forms[] = {
      {"Content-Type: multipart/mixed; boundary=\" lead\"\r\n", " lead"},
      {"Content-Type: multipart/mixed; boundary=\" lead\"\r\n", "lead"},
      {"Content-Type: multipart/mixed; boundary=two words; x=y\r\n", "two words"},
      {"Content-Type: multipart/mixed; boundary=two words; x=y\r\n", "two"},
      {"Content-Type: multipart/mixed; boundary=\"a\\\"b\"\r\n", "a\"b"},
      {"Content-Type: multipart/mixed; boundary=\"open\r\n", "open"},
      {"Content-Type: multipart/mixed; boundary=\"open; charset=x\r\n", "open"},
      {"Content-Type: multipart/mixed; boundary=one; boundary=two\r\n", "one"},
      {"Content-Type: multipart/mixed; boundary=one; boundary=two\r\n", "two"},
      {"Content-Type: multipart/mixed\r\nContent-Disposition: inline; boundary=cd\r\n", "cd"},
      {"Content-Type: multipart/mixed; boundary*0=\"ab\"; boundary*1=\"cd\"\r\n", "abcd"},
      {"Content-Type: multipart/mixed; boundary=\"" + long_boundary + "\"\r\n", long_boundary},
      {"Content-Type: multipart/mixed; boundary=\r\n folded\r\n", "folded"},
      {"Content-Type: multipart/mixed;\r\n\tboundary=\r\n\t\"folded\"\r\n", "folded"},
      {"content-type:multipart/mixed;boundary=tight\r\n", "tight"},
      {"Content-Type: multipart/mixed; BOUNDARY = spaced\r\n", "spaced"},
      {"Content-Type: multipart/mixed boundary=nosemicolon\r\n", "nosemicolon"},
      {"Content-Type: multipart/mixed; boundary=\"trail \"\r\n", "trail"},
      {"Content-Type: multipart/mixed; boundary=a\r\nContent-Type: multipart/mixed; boundary=b\r\n",
       "a"},
      {"Content-Type: multipart/mixed; boundary=a\r\nContent-Type: multipart/mixed; boundary=b\r\n",
       "b"},
      {"Content-Type: text/plain\r\nContent-Type: multipart/mixed; boundary=b\r\n", "b"},
      {"Content-Type: multipart/mixed; boundary=b (a comment)\r\n", "b"},
  };
  for (const auto& f : forms) {
    const Recorder r = run(mixed(f.header, f.boundary, kSecret));
    EXPECT_TRUE(r.sees("SIGNATURE")) << f.header;
  }
}

TEST(MimeCases, B10_DelimiterForms) {
  const auto body = [](const std::string& delimiter, const std::string& close) {
    return "Content-Type: multipart/mixed; boundary=boundary\r\n\r\n" + delimiter +
           "\r\n\r\nfirst\r\n--bou\r\nstill first\r\n" + delimiter + "\r\n\r\nsecond\r\n" + close;
  };
  for (const char* blanks : {"", "  ", "\t", " \t ", "\r"}) {
    const Recorder r = run(body("--boundary"s + blanks, "--boundary--"s + blanks + "\r\n"));
    ASSERT_EQ(r.parts.size(), 3u) << blanks;
    EXPECT_EQ(r.parts.at(1).decoded, "first\r\n--bou\r\nstill first");
    EXPECT_EQ(r.parts.at(2).decoded, "second");
    EXPECT_FALSE(r.has(Anomaly::missing_boundary));
  }
  // The close without a line end, and cut short.
  EXPECT_FALSE(run(body("--boundary", "--boundary--")).has(Anomaly::missing_boundary));
  EXPECT_TRUE(run(body("--boundary", "--boundary-")).has(Anomaly::missing_boundary));
}

TEST(MimeCases, B10_LineThatOnlyBeginsWithTheBoundaryIsReadBothWays) {
  const Recorder r =
      run("Content-Type: multipart/mixed; "
          "boundary=b\r\n\r\n--b\r\n\r\nfirst\r\n--bJUNK\r\nContent-Type: "
          "application/x\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
          base64_lines(kSecret) + "--b--\r\n");
  EXPECT_EQ(r.parts.at(1).decoded.substr(0, 14), "first\r\n--bJUNK");
  EXPECT_TRUE(r.sees("SIGNATURE"));
}

TEST(MimeCases, B10_NestedBoundariesThatBeginAlike) {
  const Recorder r =
      run("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: "
          "multipart/alternative; "
          "boundary=bc\r\n\r\n--bc\r\n\r\none\r\n--bc--\r\n--b\r\n\r\ntwo\r\n--b--\r\n");
  ASSERT_EQ(r.parts.size(), 4u);
  EXPECT_EQ(r.parts.at(2).decoded, "one");
  EXPECT_EQ(r.parts.at(3).decoded, "two");
  EXPECT_EQ(r.parts.at(3).parent, 0u);
}

TEST(MimeCases, B11_Names) {
  const struct {
    std::string header, name, other;
  } forms[] = {
      {"Content-Disposition: attachment; filename*0*=iso-8859-1''aaa.pd; filename*1=f\r\n",
       "aaa.pdf", ""},
      {"Content-Disposition: attachment; filename*0=\"a\"; filename*1=.exe;\r\n", "a.exe", ""},
      {"Content-Disposition: attachment; filename*1=.exe; filename*0=\"a\"\r\n", "a.exe", ""},
      {"Content-Disposition: attachment; filename*=utf-8''x%2Eexe\r\n", "x.exe", ""},
      {"Content-Type: application/x; name=\"r.txt\"\r\nContent-Disposition: attachment; "
       "filename=\"p.exe\"\r\n",
       "p.exe", "r.txt"},
      {"Content-Type: application/x; name=\"p.exe\"\r\nContent-Disposition: attachment; "
       "filename=\"r.txt\"\r\n",
       "p.exe", "r.txt"},
      {"Content-Disposition: attachment; filename=\"r.txt\"; filename=\"p.exe\"\r\n", "p.exe",
       "r.txt"},
      {"Content-Disposition: attachment\r\n filename=\"p.exe\"\r\n", "p.exe", ""},
      {"Content-Disposition: attachment;\r\nfilename=\"p.exe\"\r\n", "p.exe", ""},
      {"Content-Type: application/x;\r\nname=p.exe\r\n", "p.exe", ""},
      {"Content-Disposition: attachment; filename=\"=?utf-8?Q?Z=C3=BCrich=2Eexe?=\"\r\n",
       "Z\xc3\xbcrich.exe", ""},
      {"Content-Disposition: attachment; filename=my file.exe\r\n", "my file.exe", ""},
      {"Content-Disposition: attachment; filename=\"p.exe\r\n", "p.exe", ""},
      {"Content-Disposition: attachment; filename*=iso-8859-1''Fr%F6sche.txt\r\n",
       "Fr\xc3\xb6sche.txt", ""},
      {"Content-Disposition: attachment; filename=r.txt; filename*=utf-8''p.exe\r\n", "p.exe",
       "r.txt"},
  };
  for (const auto& f : forms) {
    const Recorder r = run(f.header + "\r\nbody");
    EXPECT_EQ(r.parts.at(0).name, f.name) << f.header;
    EXPECT_EQ(r.parts.at(0).other_name, f.other) << f.header;
    EXPECT_TRUE(r.parts.at(0).attachment);
    EXPECT_EQ(r.has(Anomaly::two_names), !f.other.empty()) << f.header;
  }
}

TEST(MimeCases, B12_EncodedWords) {
  const struct {
    std::string raw, value;
  } forms[] = {
      {"=?UTF-8?Q?Z=C3?=\r\n =?UTF-8?Q?=BCrich?=", "Z\xc3\xbcrich"},
      {"=?utf-8?q?a?= =?utf-8?q?b?=", "ab"},
      {"=?utf-8?q?a?= b", "a b"},
      {"a =?utf-8?q?b?=", "a b"},
      {"[TAG]=?utf-8?B?b2s=?=", "[TAG]ok"},
      {"=?utf-8?Q?"
       "?=",
       ""},
      {"=?utf-8?q?a_b=20c?=", "a b c"},
      {"=?iso-8859-1*de?q?M=FCller?=", "M\xc3\xbcller"},
      {"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "\xe6\x97\xa5\xe6\x9c\xac"},
      {"=?iso-2022-jp?B?GyRCRnwbKEI=?= =?iso-2022-jp?B?GyRCS1wbKEI=?=", "\xe6\x97\xa5\xe6\x9c\xac"},
      {"=?utf-8?q?broken", "=?utf-8?q?broken"},
      {"=?utf-8?x?a?=", "=?utf-8?x?a?="},
      {"=?foo?q?a=41?=", "aA"},
      {"=?utf-8?q?with blank?=", "with blank"},
      {"M\xc3\xbcller", "M\xc3\xbcller"},
      {"M\xfcller", "M\xc3\xbcller"},
  };
  for (const auto& f : forms) {
    const Recorder r = run("Subject: " + f.raw + "\r\n\r\n");
    EXPECT_EQ(r.subject(), f.value) << f.raw;
    EXPECT_NE(r.parts.at(0).raw_header.find(f.raw), std::string::npos);
  }
}

TEST(MimeCases, B13_QuotedPrintable) {
  const struct {
    std::string coded, text;
  } forms[] = {
      {"http://ex=\r\nample.test/", "http://example.test/"},
      {"=\r\n", ""},
      {"a=ZZb", "a=ZZb"},
      {"==41", "=A"},
      {"a=20  \r\nb", "a \r\nb"},
      {"a=20  \nb", "a \nb"},
      {"=3d", "="},
      {"a\r\n\r\n\r\nb", "a\r\n\r\n\r\nb"},
      {"end=", "end"},
      {"end=4", "end=4"},
      {"soft=  \r\nbreak", "softbreak"},
      {"a = b", "a = b"},
      {"a  b\t\tc", "a  b\t\tc"},
      {"=00x", "\0x"s},
      {"cr\rcr", "cr\rcr"},
      {std::string(1000, ' ') + "x", std::string(1000, ' ') + "x"},
  };
  for (const auto& f : forms) {
    const Recorder r =
        run("Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" +
            f.coded);
    EXPECT_EQ(r.parts.at(0).decoded, f.text) << f.coded;
  }
}

TEST(MimeCases, B15_Uuencode) {
  const std::string file = "begin 644 t.exe\r\n#86)C\r\n`\r\nend\r\n";
  const Recorder r = run(plain("Some text\r\n" + file + "between\r\n" + file + "after\r\n"));
  ASSERT_EQ(r.parts.size(), 3u);
  EXPECT_EQ(r.parts.at(1).name, "t.exe");
  EXPECT_EQ(r.parts.at(1).decoded, "abc");
  EXPECT_EQ(r.parts.at(1).octets, 3u);
  EXPECT_EQ(r.parts.at(1).md5, "900150983cd24fb0d6963f7d28e17f72");
  EXPECT_TRUE(r.parts.at(1).attachment);
  EXPECT_EQ(r.parts.at(2).decoded, "abc");
  EXPECT_EQ(r.parts.at(0).text, "Some text\r\nbetween\r\nafter\r\n");
  const std::string prose =
      "We begin 644 things.\r\nbegin 644\r\nbegin 644 things today\r\nhello there\r\n";
  const Recorder p = run(plain(prose));
  EXPECT_EQ(p.parts.size(), 1u);
  EXPECT_EQ(p.parts.at(0).text, prose);
  // Two begin lines, no end, in quoted-printable.
  const Recorder q = run(
      "Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nbegin 644 "
      "a\r\nbegin 600 b.exe\r\n#86)C");
  EXPECT_EQ(q.parts.at(1).decoded, "abc");
  EXPECT_EQ(q.parts.at(1).name, "b.exe");
}

TEST(MimeCases, B15_NamesOfUuencodedParts) {
  const std::string file = "#86)C\r\n`\r\nend\r\n";
  const std::string text =
      "Content-Type: application/octet-stream; name=ok.txt\r\nContent-Transfer-Encoding: "
      "x-uuencode\r\n\r\nbegin 644 a.exe\r\n" +
      file + "begin 644 b.exe\nend\nbegin 600 c.exe\n" + file + "begin 600 d.exe";
  const Recorder r = run(text);
  EXPECT_EQ(r.parts.at(0).name, "ok.txt");
  EXPECT_EQ(r.parts.at(0).decoded, "abcabc");
  std::vector<std::string> names;
  for (const auto& [number, part] : r.parts)
    if (part.alternative) names.push_back(part.name);
  EXPECT_EQ(names, (std::vector<std::string>{"a.exe", "b.exe", "c.exe", "d.exe"}));
}

std::string utf16(std::string_view ascii, bool little) {
  std::string out;
  for (const char c : ascii) {
    if (little) out.push_back(c);
    out.push_back('\0');
    if (!little) out.push_back(c);
  }
  return out;
}

TEST(MimeCases, B17_Charsets) {
  const std::string url = "go to http://a.test/p now";
  const auto message = [](const std::string& charset, const std::string& body) {
    return "Content-Type: text/plain; charset=" + charset +
           "\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64_lines(body);
  };
  const std::vector<std::string> want{"http://a.test/p"};
  for (const bool little : {true, false}) {
    EXPECT_EQ(run(message("utf-16", utf16(url, little))).all_urls(), want);
    EXPECT_EQ(
        run(message("utf-16", (little ? "\xff\xfe" : "\xfe\xff") + utf16(url, little))).all_urls(),
        want);
    EXPECT_EQ(run(message(little ? "utf-16le" : "utf-16be", utf16(url, little))).all_urls(), want);
    EXPECT_EQ(run(message("utf-16", "\x4e\0"s + utf16(url, little))).all_urls(), want);
    // A lie about the order at the start does not hide what follows.
    EXPECT_EQ(run(message("utf-16", utf16(std::string(64, 'x'), !little) + utf16(url, little)))
                  .all_urls(),
              want);
  }
  const Recorder odd = run(message("utf-16le", utf16(url, true) + "x"));
  EXPECT_EQ(odd.all_urls(), want);
  EXPECT_TRUE(odd.has(Anomaly::charset));
  EXPECT_EQ(run(text_message("Content-Type: text/plain; charset=unicode-1-1-utf-7\r\n",
                             "+AGgAdAB0AHA-://a.test/p now"))
                .all_urls(),
            want);
  EXPECT_EQ(run(text_message("Content-Type: text/plain; charset=utf-7\r\n",
                             "+AGgAdAB0AHA-://a.test/p now"))
                .all_urls(),
            want);
  const Recorder foo =
      run(text_message("Content-Type: text/plain; charset=foo\r\n", url + kSecret));
  EXPECT_EQ(foo.all_urls(), want);
  EXPECT_TRUE(foo.sees("SIGNATURE"));
  EXPECT_TRUE(foo.has(Anomaly::charset));
  EXPECT_EQ(run(message("koi8-r", "\xf0\xf2\xe9")).parts.at(0).text, "\xd0\x9f\xd0\xa0\xd0\x98");
  EXPECT_EQ(run(message("iso-2022-jp", "\x1b$BF|K\\\x1b(B!")).parts.at(0).text,
            "\xe6\x97\xa5\xe6\x9c\xac!");
  const Recorder joined = run(message("iso-2022-jp", "\x1b$BF|\x1b(B\x1b$BK\\\x1b(B"));
  EXPECT_EQ(joined.parts.at(0).text, "\xe6\x97\xa5\xe6\x9c\xac");
  EXPECT_FALSE(joined.has(Anomaly::charset));
  EXPECT_EQ(run(message("gb2312", "\xd6\xd0\xce\xc4")).parts.at(0).text,
            "\xe4\xb8\xad\xe6\x96\x87");
  EXPECT_EQ(run(message("utf-8", "a\xc3\xbc\xff\xe4\xb8")).parts.at(0).text,
            "a\xc3\xbc\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(MimeCases, B18_HeaderFloods) {
  std::string many = "Subject: one\r\n";
  for (int i = 0; i < 100'000; ++i) many += "X-A: b\r\n";
  const Recorder r =
      run(many + "Content-Transfer-Encoding: base64\r\n\r\n" + base64_lines(kSecret));
  EXPECT_TRUE(r.has(Anomaly::header_limit));
  EXPECT_TRUE(r.sees("SIGNATURE"));  // a field past the bound still says what the body is
  EXPECT_LE(r.parts.at(0).headers.size(), 1000u);

  const Recorder big =
      run("X-Big: " + std::string(2 << 20, 'a') + "\r\nSubject: after\r\n\r\n" + kSecret);
  EXPECT_TRUE(big.has(Anomaly::header_limit));
  EXPECT_TRUE(big.sees("SIGNATURE"));

  std::string to = "To: ";
  for (int i = 0; i < 50'000; ++i) to += "user" + std::to_string(i) + "@x.test,\r\n ";
  const Recorder t = run(to + "end@x.test\r\nSubject: s\r\n\r\n" + kSecret);
  EXPECT_TRUE(t.sees("SIGNATURE"));
  EXPECT_TRUE(t.has(Anomaly::header_limit));

  EXPECT_EQ(run("Subject: s\r\nX-A:").parts.at(0).headers.size(), 2u);
  const Recorder twice = run("Subject: a\r\nSubject: b\r\n\r\n");
  ASSERT_EQ(twice.parts.at(0).headers.size(), 2u);
  EXPECT_EQ(twice.parts.at(0).headers[1].value, "b");
  EXPECT_TRUE(twice.has(Anomaly::dup_header));

  for (std::size_t size = 1996; size <= 2002; ++size) {
    const std::string name = "Content-Type: multipart/mixed; boundary=b; x=";
    const Recorder x =
        run(mixed(name + std::string(size - name.size() - 1, 'x') + ";\r\n", "b", kSecret));
    EXPECT_TRUE(x.sees("SIGNATURE")) << size;
  }
  // Most readers take a line of blanks for a continuation, some for the end.
  const Recorder blank = run("Subject: a\r\n \r\n b\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
                             base64_lines(kSecret));
  EXPECT_TRUE(blank.sees("SIGNATURE"));
  EXPECT_EQ(blank.subject(), "a  b");
}

TEST(MimeCases, B18_LinesThatAreNoFields) {
  // The body begins, to MTAs; the header goes on, to others. Both see it.
  for (const char* junk : {"no field at all", "bad name: x", "\xc3\xbc: x"}) {
    const Recorder r = run("Subject: s\r\n"s + junk +
                           "\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64_lines(kSecret));
    EXPECT_TRUE(r.sees("SIGNATURE")) << junk;
    EXPECT_TRUE(r.sees("Content-Transfer-Encoding")) << junk;
    EXPECT_TRUE(r.has(Anomaly::bad_header));
  }
  const Recorder direct = run("Content-Transfer-Encoding: base64\r\n" + base64_lines(kSecret));
  EXPECT_TRUE(direct.sees("SIGNATURE"));
  const Recorder mbox = run("From a@b Mon Jan 1\r\nSubject: s\r\n>From x\r\nTo: t\r\n\r\nbody");
  EXPECT_EQ(mbox.parts.at(0).headers.size(), 2u);
  EXPECT_EQ(mbox.parts.at(0).decoded, "body");
}

TEST(MimeCases, A19_NulIsData) {
  const std::string nul(1, '\0');
  const Recorder r = run(plain("safe" + nul + kSecret));
  EXPECT_NE(r.parts.at(0).decoded.find("SIGNATURE"), std::string::npos);
  EXPECT_NE(r.parts.at(0).text.find("SIGNATURE"), std::string::npos);
  EXPECT_EQ(r.parts.at(0).octets, 5 + kSecret.size());
  EXPECT_TRUE(r.has(Anomaly::nul));
  const Recorder q =
      run("Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nsafe=00" +
          kSecret);
  EXPECT_EQ(q.parts.at(0).octets, 5 + kSecret.size());
  EXPECT_TRUE(q.has(Anomaly::nul));
  const Recorder s = run("Subject: a" + nul + "b\r\n\r\n");
  EXPECT_EQ(s.subject(), "a" + nul + "b");
  EXPECT_TRUE(s.has(Anomaly::nul));
  // Half of the octets of UTF-16 are zero, and none of its characters.
  const Recorder wide =
      run("Content-Type: text/plain; charset=utf-16le\r\n\r\nh" + nul + "i" + nul);
  EXPECT_FALSE(wide.has(Anomaly::nul));
  const std::string zeros(1 << 20, '\0');
  const Recorder z =
      run("Content-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
          base64_lines(zeros));
  EXPECT_EQ(z.parts.at(0).octets, zeros.size());
}

}  // namespace
}  // namespace sluice::mime
