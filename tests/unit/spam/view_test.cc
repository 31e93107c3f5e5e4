// What rules look at: decoding, HTML, relays, addresses, dates, native functions.
#include "dataplane/spam/address_list.h"
#include "dataplane/spam/decode.h"
#include "dataplane/spam/evals.h"
#include "dataplane/spam/html_text.h"
#include "dataplane/spam/uri_target.h"
#include "tests/unit/spam/spam_on_message.h"

namespace sluice::test {
namespace {

using Names = std::set<std::string>;
using spam::String;

String header(std::string_view value) {
  String out;
  spam::decode_header(value, "subject", out);
  return out;
}

TEST(SpamView, EncodedWords) {
  EXPECT_EQ(header("=?utf-8?Q?a_b?= =?utf-8?B?Yw==?="), "a bc");
  EXPECT_EQ(header("=?iso-8859-1?Q?=E9?= x"), "\xc3\xa9 x");
  EXPECT_EQ(header("=?utf-8?B?w6k=?= =?utf-8?Q?=C3?= =?utf-8?Q?=A9?="), "\xc3\xa9\xc3\xa9");
  EXPECT_EQ(header("=?bad?= text"), "=?bad?= text");
  EXPECT_EQ(header("caf\xe9"), "caf\xc3\xa9");
}

String render(std::string_view html) {
  spam::TextBuffer out(std::pmr::get_default_resource());
  spam::HtmlFacts facts(std::pmr::get_default_resource());
  spam::render_html(html, html.size(), out, facts, std::pmr::get_default_resource());
  return String(out.view());
}

TEST(SpamView, HtmlText) {
  EXPECT_EQ(render("a<b>b</b>c"), "abc");
  EXPECT_EQ(render("a<br>b<p>c</p>"), "a\nb\n\nc\n\n");
  EXPECT_EQ(render("x &amp; y &lt;z&gt; &#65;&nbsp;B"), "x & y <z> A B");
  EXPECT_EQ(render("<style>no</style>a<script>no()</script>b<!-- no -->c"), "abc");
  EXPECT_EQ(render("a < b"), "a < b");
  EXPECT_EQ(render("<td>1</td><td>2</td>"), " 1  2 ");
  EXPECT_EQ(render("<title>T</title>x"), "\n\nT\n\nx");
}

TEST(SpamView, HtmlFacts) {
  spam::HtmlFacts facts(std::pmr::get_default_resource());
  spam::TextBuffer out(std::pmr::get_default_resource());
  spam::render_html(
      "<html><font color=white size=+3>hidden</font><font size=1>x</font>"
      "<img src=a width=10 height=20><a href=\"/b\">text</a></center></html>",
      100, out, facts, std::pmr::get_default_resource());
  EXPECT_TRUE(facts.font_low_contrast);
  EXPECT_EQ(facts.max_size, 6);
  EXPECT_EQ(facts.min_size, 1);
  EXPECT_EQ(facts.image_area, 200);
  EXPECT_EQ(facts.closed_extra, 1u);
  ASSERT_EQ(facts.anchors.size(), 1u);
  EXPECT_EQ(facts.anchors[0], "text");
}

TEST(SpamView, Targets) {
  const auto target = [](std::string_view base, std::string_view reference) {
    String out;
    spam::target_uri(base, reference, out);
    return out;
  };
  EXPECT_EQ(target("http://a.example/b/c", "../d?x#y"), "http://a.example/d?x#y");
  EXPECT_EQ(target("http://a.example/b/", "c"), "http://a.example/b/c");
  EXPECT_EQ(target("", "http://A.example/./x/../y"), "http://A.example/y");
  EXPECT_EQ(target("", "//www.b.example/z"), "http://www.b.example/z");
}

TEST(SpamView, Addresses) {
  const auto read = [](std::string_view raw) {
    scan::RegexScratch scratch;
    std::pmr::monotonic_buffer_resource memory;
    std::pmr::vector<spam::NamedAddress> found(&memory);
    spam::read_addresses(raw, scratch, found);
    std::string text;
    for (const auto& address : found) {
      text += std::string(address.name) + "<" + std::string(address.address) + ">;";
    }
    return text;
  };
  EXPECT_EQ(read(" a@b.example\n"), "<a@b.example>;");
  EXPECT_EQ(read("\"Doe, J\" <j@d.example>, K <k@d.example>"),
            "Doe, J <j@d.example>;K <k@d.example>;");
  EXPECT_EQ(read("a@b.example (The Name)"), "The Name<a@b.example>;");
  EXPECT_EQ(read("undisclosed"), "undisclosed<>;");
  // What looks plain and is not.
  EXPECT_EQ(read("<a@b.example>, ><c@d.example>"), "<>;");
  EXPECT_EQ(read("a@b.example (x <y@z.example>, z)"), "a@b.example (x <y@z.example>;z)<>;");
  EXPECT_EQ(read("\"a@b.example\"<a@b.example>,c@d.example"), "<a@b.example>;<c@d.example>;");
  EXPECT_EQ(read("a@b.example; c@d.example"), "<a@b.example>;<c@d.example>;");
}

std::string relay_of(std::string_view received) {
  scan::RegexScratch scratch;
  std::pmr::monotonic_buffer_resource memory;
  spam::Relays relays(&memory);
  spam::read_relays({received}, {}, {}, scratch, &memory, relays);
  return std::string(relays.trusted_text + relays.untrusted_text) +
         (relays.unparseable != 0 ? "?" : "");
}

TEST(SpamView, ReceivedForms) {
  EXPECT_EQ(
      relay_of(
          "from helo.example (rdns.example [192.0.2.1]) by mx.example (Postfix) with ESMTP id ABC"),
      "[ ip=192.0.2.1 rdns=rdns.example helo=helo.example by=mx.example ident= envfrom= intl=0 "
      "id=ABC auth= msa=0 ]");
  EXPECT_EQ(relay_of("from [192.0.2.2] (helo=foo) by mx.example with esmtp (Exim 4.9) id 1 for x"),
            "[ ip=192.0.2.2 rdns= helo=foo by=mx.example ident= envfrom= intl=0 id= auth= msa=0 ]");
  EXPECT_EQ(
      relay_of(
          "from unknown (HELO foo) (192.0.2.3) by mx.example with SMTP; 1 Jan 2024 10:00:00 -0000"),
      "[ ip=192.0.2.3 rdns= helo=foo by=mx.example ident= envfrom= intl=0 id= auth= msa=0 ]");
  for (const std::string_view date : {"", "; Mon, 1 Jan 2024 10:00:00 +0000",
                                      "; 1 Jan 2024 10:00 +0000", " ; 1 Feb 24 1:2:3 x"}) {
    EXPECT_EQ(relay_of("from [192.0.2.2] by web.example via HTTP" + std::string(date)),
              "[ ip=192.0.2.2 rdns= helo= by=web.example ident= envfrom= intl=0 id= auth= msa=0 ]");
  }
  EXPECT_EQ(relay_of("from [192.0.2.2] by web.example via HTTP; 1 January 2024 10:00 +0000"),
            "[ ip=192.0.2.2 rdns= helo= by=web.example ident= envfrom= intl=0 id= auth= msa=0 ]");
  EXPECT_EQ(relay_of("from x by y; 1 Jan 2024 10:00:00 +0000"), "");
  EXPECT_EQ(relay_of("from local by mx.example with local id 1"), "");
  EXPECT_EQ(relay_of("by mx.example id 1"), "");
  EXPECT_EQ(
      relay_of("from a.example (a.example [10.0.0.1]) by mx.example with ESMTPSA id 100"),
      "[ ip=10.0.0.1 rdns=a.example helo=a.example by=mx.example ident= envfrom= intl=1 id=100 "
      "auth=ESMTPSA msa=0 ]");
}

TEST(SpamView, Dates) {
  std::int64_t seconds = 0;
  EXPECT_TRUE(spam::read_date("Thu, 01 Jan 1970 00:00:10 +0000", seconds));
  EXPECT_EQ(seconds, 10);
  EXPECT_TRUE(spam::read_date("Mon, 2 Jan 2006 15:04:05 -0700", seconds));
  EXPECT_EQ(seconds, 1136239445);
  EXPECT_TRUE(spam::read_date("2 Jan 06 22:04 GMT", seconds));
  EXPECT_EQ(seconds, 1136239440);
  EXPECT_FALSE(spam::read_date("yesterday", seconds));
}

// Of a field the value, and that with a line end as rules see it, wherever it had to be copied.
TEST(SpamView, LinesOfFields) {
  std::pmr::monotonic_buffer_resource memory;
  for (const auto& [field, value] :
       {std::pair("A: b\n", "b"), std::pair("A: b", "b"), std::pair("A: b \t\n", "b"),
        std::pair("A: b\n c\n", "b c"), std::pair("A: b\n c \n \n", "b c"), std::pair("A:\n", ""),
        std::pair("A:", ""), std::pair("A: \n", ""), std::pair("A: \n b\n", "b"),
        std::pair("A: =?utf-8?q?b?=\n", "b"),
        std::pair("A: =?utf-8?q?b?=\n =?utf-8?q?c?= d", "bc d")}) {
    spam::HeaderList list(&memory);
    list.add(field, false);
    list.add("Other: x\n", false);  // behind it in memory
    ASSERT_EQ(list.fields().size(), 2u);
    const spam::Field& of = list.fields().front();
    EXPECT_EQ(of.value, value) << field;
    EXPECT_EQ(of.line, std::string(value) + "\n") << field;
    EXPECT_EQ(of.raw, std::string_view(field).substr(2)) << field;
    EXPECT_EQ(of.hash, scan::FieldNames::hash("a"));
  }
}

// As most write a date it is read at once; with two blanks somewhere word by word: the same.
TEST(SpamView, DatesAtOnce) {
  constexpr std::string_view kEnds[] = {"", " (CEST)", ",x", "\n"};
  for (const std::string_view of :
       {"Mon, 2 Sep 2002 12:34:56 +0130", " 02 Sep 2002 00:00:00 -0800", "2 SEP 1960 1:02:03 +0000",
        "Wed, 31 Feb 2004 25:70:99 +0000", "Fri, 31 Dec 2039 23:59:59 -2359",
        "Mar, 3 Apr 2024 12:00:00 +0000", "Mon, 2 Sep 2002 12:34:56 0100",
        "Mon, 2 Sep 2002 12:34:56 +010", "Mon, 2 Sep 2002 12:34:56 +01000",
        "Mon, 2 Sep 2002 12:34 +0100", "Mon, 2 Sep 02 12:34:56 +0100",
        "Mon, 2 Sep 2002 12:34:56 GMT", "Mon 2 Sep 2002 12:34:56 +0100",
        "Mon, 2 Xxx 2002 12:34:56 +0100", "Mon,2 Sep 2002 12:34:56 +0100",
        "Mon, 123 Sep 2002 12:34:56 +0100", "Mon, 2 Sep 2002 112:34:56 +0100",
        "Mon, 2 Sep 2002 12:34:567 +0100", "Mon, 2 Sep 20021 12:34:56 +0100"}) {
    for (const std::string_view end : kEnds) {
      const std::string date = std::string(of) + std::string(end);
      std::string apart = date;
      apart.insert(apart.find(' ', apart.find_first_of("0123456789")), " ");
      std::int64_t seconds = -1;
      std::int64_t of_words = -1;
      EXPECT_EQ(spam::read_date(date, seconds), spam::read_date(apart, of_words)) << date;
      EXPECT_EQ(seconds, of_words) << date;
    }
  }
}

// Whom mail says to be of, as a regex of SpamAssassin's says it: \bhotmail\.com$
TEST(SpamView, Senders) {
  const SpamRuleset rules("header FORGED eval:check_for_no_hotmail_received_headers()\n");
  for (const auto& [address, forged] :
       {std::pair("a@hotmail.com", true), std::pair("a@HotMail.com", true),
        std::pair("a@x.hotmail.com", true), std::pair("a@x-hotmail.com", true),
        std::pair("a@xhotmail.com", false), std::pair("a@x_hotmail.com", false),
        std::pair("a@hotmail.com.example", false), std::pair("a@mail.com", false)}) {
    const std::string message = "From: " + std::string(address) +
                                "\nReceived: from a.example (a.example [192.0.2.7]) by mx.example; "
                                "Mon, 1 Jan 2024 10:00:00 +0000\n\nx\n";
    EXPECT_EQ(rules.run(message).names.contains("FORGED"), forged) << address;
  }
}

TEST(SpamView, Evals) {
  constexpr std::string_view kRules =
      "util_rb_tld example com\nfreemail_domains free.example *.wild.example\n"
      "header A1 eval:check_for_missing_to_header()\n"
      "header A2 eval:subject_is_all_caps()\n"
      "header A3 eval:check_illegal_chars('Subject','0.01','1')\n"
      "header A4 eval:check_freemail_from()\n"
      "header A5 eval:check_for_shifted_date('3','6')\n"
      "header A6 eval:check_no_relays()\n"
      "header A7 eval:check_header_count_range('Subject','2','9')\n"
      "body A8 eval:check_for_mime_html_only()\n"
      "body A9 eval:check_body_length('5')\n"
      "body B1 eval:check_for_uppercase('75','100')\n";
  const SpamRuleset rules(kRules);
  EXPECT_EQ(rules
                .run("From: x@free.example\nSubject: BUY THIS THING\nSubject: BUY THIS OTHER\n"
                     "Content-Type: text/html\n\nx\n")
                .names,
            (Names{"A1", "A2", "A4", "A6", "A7", "A8", "A9"}));
  EXPECT_EQ(
      rules
          .run("From: x@a.wild.example\nTo: y@z.example\nDate: Mon, 1 Jan 2024 14:00:00 +0000\n"
               "Received: from a.example (a.example [192.0.2.7]) by mx.example (Postfix); Mon, 1 "
               "Jan 2024 10:00:00 +0000\n"
               "Subject: \x01\x02 odd\n\n" +
               std::string(300, 'A') + " " + std::string(10, 'b') + "\n")
          .names,
      (Names{"A3", "A4", "A5", "B1"}));
}

}  // namespace
}  // namespace sluice::test
