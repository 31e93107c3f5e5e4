// What hits never depends on how the octets are cut.
#include "tests/unit/spam/spam_on_message.h"

namespace sluice::test {
namespace {

constexpr std::string_view kRules =
    "util_rb_tld example com\n"
    "body B1 /one two/\nbody B2 /caf\xc3\xa9/\nbody B3 /V[i\xc3]agra|Hello\\sworld/\n"
    "rawbody R1 /<b>bold<\\/b>/\nrawbody R2 /decoded\\nline/\n"
    "uri U1 /shop\\.example/\nfull F1 /^Content-Type: text\\/html/m\n"
    "header H1 Subject =~ /folded here/\nmimeheader M1 Content-Type =~ /html/\n"
    "body E1 eval:html_tag_exists('b')\nbody E2 eval:check_for_mime('mime_qp_long_line')\n"
    "body E3 eval:multipart_alternative_difference('10','100')\n"
    "header E4 eval:check_for_shifted_date('undef','undef')\n"
    "meta M2 B1 && R2 && U1 && H1\n";

constexpr std::string_view kMessages[] = {
    "Subject: some\n folded here\nContent-Type: multipart/alternative; "
    "boundary=\"b\"\n\npreamble\n--b\n"
    "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n"
    "one=\n two caf=C3=A9\nHello\n   world http://shop.example/x\n--b\nContent-Type: text/html\n\n"
    "<html><b>bold</b> one <i>two</i> <a "
    "href='http://shop.example/'>x</a></html>\n--b--\nepilogue\n",
    "Subject: some folded here\nContent-Transfer-Encoding: "
    "base64\n\nZGVjb2RlZApsaW5lIG9uZSB0d28gd3d3LnNob3AuZXhhbXBsZQ==\n",
    "Subject: no separator\nnot a field\n another\nbody one two\n",
    "\nno header at all: one two\n",
    "Content-Type: multipart/mixed; boundary=x\n\n--x\n\none two\n--x\nContent-Type: "
    "message/rfc822\n\n"
    "Subject: inner\nContent-Type: text/html\n\n<b>bold</b>\n--x--\n",
};

TEST(SpamCuts, HitsAreTheSame) {
  const SpamRuleset rules(kRules);
  ASSERT_TRUE(rules.ruleset);
  bool any = false;
  for (const std::string_view message : kMessages) {
    const SpamResult whole = rules.run(message);
    any = any || whole.names.contains("M2");
    for (const std::size_t cut : {1u, 2u, 3u, 5u, 7u, 11u, 17u, 64u, 100u}) {
      const SpamResult cut_up = rules.run(message, cut);
      EXPECT_EQ(cut_up.names, whole.names) << "pieces of " << cut << " octets of\n" << message;
      EXPECT_EQ(cut_up.score, whole.score);
    }
  }
  EXPECT_TRUE(any);
}

}  // namespace
}  // namespace sluice::test
