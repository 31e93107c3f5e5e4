// How a message is read (dataplane/spam): each fast way beside a plain one, on random text.
#include <random>

#include "dataplane/spam/css_color.h"
#include "dataplane/spam/decode.h"
#include "dataplane/spam/html_text.h"
#include "dataplane/spam/html_tokens.h"
#include "dataplane/spam/message_parts.h"
#include "dataplane/spam/white_space.h"
#include "tests/unit/spam/spam_on_message.h"

namespace sluice::test {
namespace {

using spam::TextBuffer;

std::pmr::memory_resource* memory() { return std::pmr::get_default_resource(); }

// Random text of these pieces.
class Texts {
 public:
  explicit Texts(std::vector<std::string> pieces) : pieces_(std::move(pieces)) {}
  std::string next(std::size_t most) {
    std::string text;
    for (std::size_t n = below(most); n > 0; --n) text += pieces_[below(pieces_.size())];
    return text;
  }
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(random_() % n); }

 private:
  std::mt19937 random_{5};
  std::vector<std::string> pieces_;
};

// --- white space ---

TEST(SpamReading, WhiteSpace) {
  Texts texts(
      {"a", "bc", "defghijklmnopqrs", " ", " ", "\n", "\t", "  \r\n  ", "\xc3\xa9", "\xff"});
  for (int round = 0; round < 5000; ++round) {
    const std::string text = texts.next(60);
    std::string squeezed;
    std::size_t white = 0;
    std::size_t characters = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const bool space = spam::is_space(text[i]);
      white += space ? 1u : 0u;
      characters += (text[i] & 0xc0) != 0x80 ? 1u : 0u;
      if (!space) {
        squeezed += text[i];
      } else if (i == 0 || !spam::is_space(text[i - 1])) {
        squeezed += ' ';
      }
    }
    TextBuffer out(memory());
    out.append("before");
    spam::append_squeezed(text, out);
    ASSERT_EQ(out.view(), "before" + squeezed);
    ASSERT_EQ(spam::count_white(text), white);
    const std::string repeated = text + text + texts.next(60);
    std::size_t lines = 0;
    std::size_t blank = 0;
    for (std::size_t at = 0; at < repeated.size(); ++lines) {
      const std::size_t end = std::min(repeated.find('\n', at), repeated.size());
      blank += spam::trim(std::string_view(repeated).substr(at, end - at)).empty() ? 1u : 0u;
      at = end + 1;
    }
    const spam::LineCount count = spam::count_lines(repeated);
    ASSERT_EQ(count.lines, lines) << testing::PrintToString(repeated);
    ASSERT_EQ(count.blank, blank) << testing::PrintToString(repeated);
    ASSERT_EQ(spam::count_characters(text), characters);
  }
}

// The body of a message as one text, paragraphs between brackets.
std::string paragraphs(const SpamRuleset& rules, const std::string& message) {
  spam::SpamScan scan(*rules.ruleset->spam(), *rules.scratch, {}, memory());
  scan.feed(as_bytes(message));
  scan.finish();
  std::string all;
  for (std::size_t i = 1; i < scan.view().body_ends.size(); ++i)
    all += "[" + std::string(scan.view().paragraph(i)) + "]";
  return all;
}

TEST(SpamReading, Paragraphs) {
  const SpamRuleset rules("body B /x/\n");
  ASSERT_TRUE(rules.ruleset);
  const std::vector<std::string> spaces = {
      " ", "\t", "\n", "\xc2\xa0", "\xc2\x85", "\xe1\x9a\x80", "\xe2\x80\x83", "\xe3\x80\x80"};
  std::vector<std::string> pieces = {"a",
                                     "bcd",
                                     "efghijklmnopqrstuvwxyz",
                                     "\xc2\xa9",
                                     "\xe2\x80\x94",
                                     "\xe3\x81\x82",
                                     "\xf0\x9f\x98\x80"};
  for (int i = 0; i < 3; ++i) pieces.insert(pieces.end(), spaces.begin(), spaces.end());
  Texts texts(pieces);
  for (int round = 0; round < 3000; ++round) {
    const std::string text = "a" + texts.next(60);
    std::string expected;
    std::string paragraph;
    std::string white;
    const auto end_white = [&] {
      const std::size_t first = white.find('\n');
      const std::size_t last = white.rfind('\n');
      if (white.empty()) return;
      if (first == last) {
        paragraph += ' ';
      } else {
        if (first > 0) paragraph += ' ';
        expected += "[" + paragraph + "\n]";
        paragraph = last + 1 < white.size() ? " " : "";
      }
      white.clear();
    };
    for (std::size_t i = 0; i < text.size();) {
      const auto space = std::find_if(spaces.begin(), spaces.end(), [&](const std::string& s) {
        return text.compare(i, s.size(), s) == 0;
      });
      if (space != spaces.end()) {
        white += *space == "\n" ? '\n' : ' ';
        i += space->size();
      } else {
        end_white();
        paragraph += text[i++];
      }
    }
    end_white();
    if (!paragraph.empty()) expected += "[" + paragraph + "]";
    ASSERT_EQ(paragraphs(rules, "Subject: s\nContent-Type: text/plain; charset=utf-8\n\n" + text),
              expected)
        << testing::PrintToString(text);
  }
}

TEST(SpamReading, QuotesOfHtmlBecomePlain) {
  const SpamRuleset rules("body B /x/\n");
  ASSERT_TRUE(rules.ruleset);
  const std::string header = "Subject: s\nContent-Type: text/html; charset=utf-8\n\n";
  EXPECT_EQ(paragraphs(rules, header + "\xe2\x80\x9c"
                                       "a\xe2\x80\x9d \xe2\x80\x99 b"),
            "[\"a\" \xe2\x80\x99 b]");
  EXPECT_EQ(paragraphs(rules, header + "plain"), "[plain]");
}

// --- encodings ---

TEST(SpamReading, QuotedPrintable) {
  Texts texts({"a", "bcdefghijklmnopqrstuvwxyz", " ", "\t", "  ", "\n", "\r\n", "\r", "=", "=\n",
               "=  \r\n", "=20", "=0D=0A", "=e9", "=zz"});
  for (int round = 0; round < 5000; ++round) {
    const std::string text = texts.next(40);
    // As Perl has it: s/[ \t]+(\r?\n)/$1/g, s/=[ \t]*\r?\n//g, s/=([\da-fA-F]{2})/chr/ge.
    std::string expected;
    for (std::size_t i = 0; i < text.size();) {
      const std::size_t blank_end = std::min(text.find_first_not_of(" \t", i), text.size());
      const auto line_end = [&](std::size_t at) -> std::size_t {
        return text.compare(at, 1, "\n") == 0 ? 1 : text.compare(at, 2, "\r\n") == 0 ? 2 : 0;
      };
      if (blank_end > i) {
        if (line_end(blank_end) == 0) expected += text.substr(i, blank_end - i);
        i = blank_end;
        continue;
      }
      if (text[i] != '=') {
        expected += text[i++];
        continue;
      }
      const std::size_t behind = std::min(text.find_first_not_of(" \t", i + 1), text.size());
      const std::string_view digits = std::string_view(text).substr(i + 1, 2);
      if (line_end(behind) > 0) {
        i = behind + line_end(behind);
      } else if (digits.size() == 2 && std::isxdigit(digits[0]) != 0 &&
                 std::isxdigit(digits[1]) != 0) {
        expected += static_cast<char>(std::stoi(std::string(digits), nullptr, 16));
        i += 3;
      } else {
        expected += text[i++];
      }
    }
    TextBuffer out(memory());
    spam::decode_quoted_printable(text, out);
    ASSERT_EQ(out.view(), expected) << testing::PrintToString(text);
    std::string without;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      if (expected.compare(i, 2, "\r\n") != 0) without += expected[i];
    }
    TextBuffer other(memory());
    ASSERT_EQ(spam::decode_transfer(text, "quoted-printable", true, other), without);
  }
}

TEST(SpamReading, Base64) {
  Texts texts({"Z", "m9v", "YmFy", "+/09", "=", "\n", "-", " ", "=="});
  for (int round = 0; round < 5000; ++round) {
    const std::string text = texts.next(30);
    static constexpr std::string_view kDigits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string bits;
    for (const char c : text) {
      const std::size_t digit = kDigits.find(c);
      for (int bit = 5; digit != std::string_view::npos && bit >= 0; --bit)
        bits += (digit >> bit & 1) != 0 ? '1' : '0';
    }
    std::string expected;
    for (std::size_t i = 0; i + 8 <= bits.size(); i += 8)
      expected += static_cast<char>(std::stoi(bits.substr(i, 8), nullptr, 2));
    TextBuffer out(memory());
    spam::decode_base64(text, out);
    ASSERT_EQ(out.view(), expected) << text;
  }
  TextBuffer out(memory());
  EXPECT_EQ(spam::decode_transfer("YQ0KYg==", "base64", true, out), "a\nb");
  EXPECT_EQ(spam::decode_transfer("YQ0KYg==", "base64", false, out), "a\r\nb");
  EXPECT_EQ(spam::decode_transfer("YQ0KYg==", "7bit", false, out), "YQ0KYg==");
}

// --- header fields ---

TEST(SpamReading, Fields) {
  std::pmr::monotonic_buffer_resource arena;
  spam::HeaderList list(&arena);
  list.add("SubJect : one\n \t two\n\tthree \n", false);
  list.add("subject:\n =?utf-8?Q?=C3=A9?=\n", false);
  list.add("no colon\n", false);
  list.add("Received:  =?utf-8?Q?a?=\n", false);
  list.add("X-Part: \n  v \n", true);
  ASSERT_EQ(list.fields().size(), 4u);
  EXPECT_EQ(list.fields()[0].name, "SubJect");
  EXPECT_EQ(list.fields()[0].raw, " one\n \t two\n\tthree \n");
  EXPECT_EQ(list.fields()[0].value, "one two three");
  EXPECT_EQ(list.last("subject")->value, "\xc3\xa9");
  EXPECT_EQ(list.last("received")->value, "=?utf-8?Q?a?=");
  EXPECT_EQ(list.last("x-part")->raw, "v \n");
  EXPECT_EQ(list.last("x-part")->value, "v");
  EXPECT_EQ(list.last("no colon"), nullptr);
}

// --- parts ---

struct Leaves final : spam::PartsSink {
  void on_message_header() override {}
  void on_part_header(std::uint32_t, const spam::ContentType&) override {}
  void on_raw_lines(std::uint32_t part, std::string_view lines) override {
    raw[part] += lines;
    most = std::max(most, lines.size());
  }
  void on_leaf(std::uint32_t part, TextBuffer& text) override {
    said += std::to_string(part) + ":" + std::string(text.view()) + "\n";
  }
  void read(std::string_view message, std::size_t cut) {
    std::pmr::monotonic_buffer_resource arena;
    spam::MessageParts parts(*this, &arena);
    for (std::size_t at = 0; at < message.size(); at += cut)
      parts.feed(as_bytes(message.substr(at, cut)));
    parts.finish();
    for (const auto& [part, lines] : raw) said += std::to_string(part) + "=" + lines + "\n";
    for (const spam::MessagePart& part : parts.parts()) {
      said += std::to_string(part.raw_octets) + " " + std::to_string(part.longest_line) + "\n";
      longest = std::max(longest, part.longest_line);
    }
    said += std::to_string(parts.body_octets());
  }
  std::map<std::uint32_t, std::string> raw;
  std::string said;
  std::size_t most = 0;
  std::uint32_t longest = 0;
};

// Octet by octet no line is read as one of many.
TEST(SpamReading, PartsDoNotDependOnCuts) {
  for (const std::string_view line_end : {"\r\n", "\n"}) {
    Texts texts({"text\n", "more text\n", "\n", "--b\n", "--b--\n", "-- \n", " \t\n", " indented\n",
                 "\r\n", "lone\r", "Content-Type: message/rfc822\n\nSubject: x\n\n",
                 "Content-Type: image/gif\n\n", "Content-Type: a/b\n\n", std::string(2047, 'l'),
                 std::string(22, '\n')});
    for (int round = 0; round < 400; ++round) {
      std::string message =
          round % 2 == 0 ? "Subject: s" + std::string(line_end)
                         : "Content-Type: multipart/mixed; boundary=b" + std::string(line_end);
      for (const char c : "\n" + texts.next(40)) {
        if (c == '\n') {
          message += line_end;
        } else {
          message += c;
        }
      }
      Leaves octets;
      octets.read(message, 1);
      for (const std::size_t cut : {std::size_t{7}, std::size_t{100}, message.size()}) {
        Leaves leaves;
        leaves.read(message, cut);
        ASSERT_EQ(leaves.said, octets.said) << testing::PrintToString(message);
      }
    }
  }
}

TEST(SpamReading, LinesBeforeABoundaryAndBlankOnes) {
  Leaves leaves;
  leaves.read("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\ntwo\n\r\n" +
                  std::string("x\r\n--b\r\n\r\n") + std::string(3000, 'l') + "\r\n--b--\r\n",
              1000);
  EXPECT_EQ(leaves.raw[1], "one\ntwo\n\nx");
  EXPECT_EQ(leaves.raw[2], std::string(2048, 'l') + "\n" + std::string(952, 'l'));
  EXPECT_EQ(leaves.longest, 2049u);
  Leaves blank;
  std::string message = "S: s\r\n\r\na\r\n";
  for (int i = 0; i < 30; ++i) message += "\r\n";
  blank.read(message + "b\r\n", message.size());
  EXPECT_EQ(blank.raw[0], "a\n" + std::string(20, '\n') + "b\n");
}

// What is not kept is handed on in pieces.
TEST(SpamReading, LinesThatAreNotKept) {
  std::string body;
  while (body.size() < 600000) body += "line " + std::to_string(body.size()) + "\n";
  for (const std::string_view type : {"text/plain", "image/gif", "a/b"}) {
    Leaves leaves;
    leaves.read("Content-Type: " + std::string(type) + "\n\n" + body, 1400);
    const std::size_t kept = type == "text/plain"  ? spam::kMaxTextPart
                             : type == "image/gif" ? spam::kMaxImageOctets
                                                   : 0;
    EXPECT_EQ(leaves.raw[0], body);
    EXPECT_TRUE(leaves.said.starts_with("0:" + body.substr(0, kept) + "\n0=")) << type;
    EXPECT_LT(leaves.most, kept + 10000) << "octets of one part that stood in memory";
  }
}

// --- HTML ---

TEST(SpamReading, NamesOfHtml) {
  for (std::size_t i = 1; i < spam::kHtmlTags.size(); ++i) {
    std::string name(spam::kHtmlTags.name(static_cast<std::uint8_t>(i)));
    EXPECT_EQ(spam::kHtmlTags.find(name), i);
    std::string other = name + "q";
    EXPECT_EQ(spam::kHtmlTags.find(other), 0) << other;
    other.erase(other.size() - 2);
    const std::uint8_t found = spam::kHtmlTags.find(other);
    EXPECT_TRUE(found == 0 || spam::kHtmlTags.name(found) == other) << other;
    for (char& c : name) c = static_cast<char>(std::toupper(c));
    EXPECT_EQ(spam::kHtmlTags.find(name), i) << name;
  }
  EXPECT_EQ(spam::kHtmlAttributes.find("HTTP-Equiv"), spam::html_attribute("http-equiv"));
  EXPECT_EQ(spam::kHtmlAttributes.find("http-equix"), 0);
  EXPECT_EQ(spam::kHtmlAttributes.find("@action"), 0);
}

struct Tokens final : spam::HtmlTokenSink {
  void on_start(const spam::HtmlTag& tag, spam::HtmlAttributes attributes) override {
    said += "<" + std::string(tag.name);
    for (const spam::HtmlAttribute& a : attributes)
      said += " " + std::string(a.name) + "=" + std::string(a.value);
    said += ">";
    count = attributes.size();
  }
  void on_end(const spam::HtmlTag& tag) override { said += "</" + std::string(tag.name) + ">"; }
  void on_text(std::string_view text) override { said += "\"" + std::string(text) + "\""; }
  void on_comment(std::string_view text) override { said += "(" + std::string(text) + ")"; }
  void on_declaration(std::string_view text) override { said += std::string(text); }
  std::string said;
  std::size_t count = 0;
};

std::string tokens(std::string_view html) {
  Tokens sink;
  spam::read_html(html, sink, memory());
  return sink.said;
}

TEST(SpamReading, TokensOfHtml) {
  EXPECT_EQ(tokens("<A HREF=1 href=2 Other='a b' OTHER=c checked x= y>"),
            "<a HREF=1 Other=a b checked=checked x=y>");
  EXPECT_EQ(tokens("<br/><br /><O:P/>"), "<br><br><o:p/>");
  EXPECT_EQ(tokens("<TITLE>a &amp; <b></TiTle >c"), "<title>\"a & <b>\"</title>\"c\"");
  EXPECT_EQ(tokens("<style>a &amp; <b></style>&lt;"), "<style>\"a &amp; <b>\"</style>\"<\"");
  EXPECT_EQ(tokens("<x " + std::string(70, 'n') + "=1 " + std::string(80, 'N') + "=2>"),
            "<x " + std::string(64, 'n') + "=1>");
  Tokens many;
  std::string html = "<x";
  for (int i = 0; i < 200; ++i) html += " a" + std::to_string(i) + "=1";
  spam::read_html(html + ">", many, memory());
  EXPECT_EQ(many.count, spam::kMaxAttributes);
}

TEST(SpamReading, Colours) {
  EXPECT_EQ(spam::read_color(" Red "), 0xff0000u);
  EXPECT_EQ(spam::read_color("#aBc"), 0xaabbccu);
  EXPECT_EQ(spam::read_color("#1"), 0x110000u);
  EXPECT_EQ(spam::read_color("#12345"), 0x112233u);
  EXPECT_EQ(spam::read_color("##12#3456789"), 0x123456u);
  EXPECT_EQ(spam::read_color("#"), spam::kEmptyColor);
  EXPECT_EQ(spam::read_color("#ggg"), spam::kInvalidColor);
  EXPECT_EQ(spam::read_color("RGB(1, 2,300)"), 0x01022cu);
  EXPECT_EQ(spam::read_color("rgb(100%,50%,0)"), 0xff7f00u);
  EXPECT_EQ(spam::read_color("lightgoldenrodyellow"), 0xfafad2u);
  EXPECT_EQ(spam::read_color("lightgoldenrodyellowx"), spam::kInvalidColor);
  EXPECT_EQ(spam::read_color(""), spam::kInvalidColor);
}

spam::HtmlFacts facts_of(std::string_view html) {
  spam::HtmlFacts facts(memory());
  TextBuffer out(memory());
  spam::render_html(html, html.size(), out, facts, memory());
  return facts;
}

TEST(SpamReading, StylesOfHtml) {
  EXPECT_FALSE(facts_of("<td bgcolor=black>x").font_low_contrast) << "bgcolor does not count";
  EXPECT_TRUE(facts_of("<div style='background: url(a b) #010101'>x").font_low_contrast);
  EXPECT_TRUE(facts_of("<p style='COLOR: White !important'>x").font_low_contrast);
  EXPECT_TRUE(facts_of("<p style='color:transparent'>x").font_low_contrast);
  EXPECT_FALSE(facts_of("<p style='color:white'></p>x").font_low_contrast);
  EXPECT_TRUE(facts_of("<font color='no colour'>x").font_invalid_color);
  EXPECT_FALSE(facts_of("<tr style='color:white'><td><tr>x").font_low_contrast)
      << "a row ends the row before";
  EXPECT_EQ(facts_of("<basefont size=5><font size=+1>x").max_size, 6);
  std::string deep;
  for (int i = 0; i < 1000; ++i) deep += "<div>";
  EXPECT_TRUE(facts_of(deep + "<p style='color:white'>x").tag("p") != nullptr);
  const spam::HtmlFacts odd = facts_of("<img x/SRC=a&amp;b><A href='http://x'>t<img>");
  ASSERT_EQ(odd.links.size(), 2u);
  EXPECT_EQ(odd.links[0].uri, "a&b");
  EXPECT_EQ(odd.anchors[0], "t<img>\n");
}

}  // namespace
}  // namespace sluice::test
