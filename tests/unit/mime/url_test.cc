// The URL and HTML table of the wire cases (B14), and what must not be called an abuse (F11).
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/unit/mime/run.h"

namespace sluice::mime {
namespace {

using contract::Anomaly;
using test::html;
using test::plain;
using test::Recorder;
using test::run;

TEST(MimeCases, B14_UrlTable) {
  using Urls = std::vector<std::string>;
  const auto urls_of_html = [](const std::string& body) { return run(html(body)).all_urls(); };
  EXPECT_EQ(urls_of_html("<a href=\" http://a.test/x\">y</a>"), Urls{"http://a.test/x"});
  EXPECT_EQ(urls_of_html("<a href=http://a.test/?q=1>2</a>"), Urls{"http://a.test/?q=1"});
  EXPECT_EQ(urls_of_html("<div>http://a.test/p</div>"), Urls{"http://a.test/p"});
  EXPECT_EQ(urls_of_html("<a href=\"user.name@a.test\">"), Urls{"mailto:user.name@a.test"});
  EXPECT_EQ(urls_of_html("x a.test&amp;sp y"), Urls{});
  for (const auto& message :
       {plain("see https://bad&#46;a&#46;test now"), html("see https://bad&#46;a&#46;test now"),
        html("<a href='https://bad&#46;a&#x2e;test'>x</a>")}) {
    EXPECT_EQ(run(message).all_hosts(), Urls{"bad.a.test"});
  }
  EXPECT_EQ(run(plain("url:http://a.test: u@a.test")).all_urls(), Urls{"http://a.test"});
  EXPECT_EQ(run(plain("http://a.test//p")).all_urls(), Urls{"http://a.test//p"});
  for (const char fill : {' ', 'x', '%'}) {
    const std::string url = "https://ok.test" + std::string(3000, fill) + "@evil.test/";
    const Recorder r = run(html("<a href=\"" + url + "\">x</a>"));
    EXPECT_EQ(r.all_hosts(), Urls{"evil.test"}) << fill;
    EXPECT_TRUE(r.has(Anomaly::deceptive_url));
    if (fill != ' ') {
      const Recorder p = run(plain("go to " + url + " now"));
      EXPECT_EQ(p.all_hosts(), Urls{"evil.test"});
      EXPECT_TRUE(p.has(Anomaly::deceptive_url));
    }
  }
  const std::string endless = "https://ok.test" + std::string(100'000, 'x') + "@evil.test/";
  EXPECT_EQ(run(html("<a href=\"" + endless + "\">x</a>")).all_hosts(), Urls{"evil.test"});
  EXPECT_EQ(run(plain("http://a.test/?r=https://b.test/cGE=")).all_urls(),
            (Urls{"http://a.test/?r=https://b.test/cGE=", "https://b.test/cGE="}));
  EXPECT_EQ(run(plain("http://a.test/?r=https%3A%2F%2Fb.test%2Fx&y=1")).all_hosts(),
            (Urls{"a.test", "b.test"}));
  const Recorder defanged = run(plain("hxxp://a[.]test and http://b[.]test and hxxps://c.test"));
  EXPECT_EQ(defanged.all_urls(), Urls{});
  EXPECT_TRUE(defanged.has(Anomaly::defanged_url));
}

TEST(MimeCases, B14_SameUrlInBothParts) {
  const Recorder r =
      run("Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\nhttp://a.test/x "
          "http://a.test/x\r\n--b\r\nContent-Type: text/html\r\n\r\n<a "
          "href=\"http://a.test/x\">http://a.test/x</a>\r\n--b--\r\n");
  EXPECT_EQ(r.parts.at(1).urls.size(), 1u);
  EXPECT_EQ(r.parts.at(2).urls.size(), 1u);
}

TEST(MimeCases, B14_HostTricks) {
  const auto host = [](const std::string& url) {
    const auto hosts = run(html("<a href=\"" + url + "\">x</a>")).all_hosts();
    return hosts.empty() ? std::string() : hosts.front();
  };
  EXPECT_EQ(host("HTTP://A.TEST./"), "a.test");
  EXPECT_EQ(host("http://user:pw@evil.test:8080/p"), "evil.test");
  EXPECT_EQ(host("http://%65vil.test/"), "evil.test");
  EXPECT_EQ(host("http:\\\\evil.test/"), "evil.test");
  EXPECT_EQ(host("http:/evil.test/"), "evil.test");
  EXPECT_EQ(host("//evil.test/x"), "evil.test");
  EXPECT_EQ(host("ht\ntp://evil\n.test/"), "evil.test");
  EXPECT_EQ(host("http://evil\xe3\x80\x82test/"), "evil.test");  // ideographic full stop
  EXPECT_EQ(host("http://b\xc3\xbc"
                 "cher.test/"),
            "xn--bcher-kva.test");
  EXPECT_EQ(host("http://0x7f.1/"), "127.0.0.1");
  EXPECT_EQ(host("http://3232235777/"), "192.168.1.1");
  EXPECT_EQ(host("http://[2001:db8::1]:80/"), "[2001:db8::1]");
  EXPECT_EQ(host("www.a.test:80/x"), "www.a.test");
  EXPECT_EQ(host("cid:part@a.test"), "");
  EXPECT_EQ(host("mailto:u@a.test?subject=x"), "a.test");
  const Recorder r = run(html("<a href=\"http://good.test\\@evil.test/\">x</a>"));
  EXPECT_EQ(r.all_hosts(), (std::vector<std::string>{"good.test", "evil.test"}));
  EXPECT_TRUE(r.has(Anomaly::deceptive_url));
}

TEST(MimeCases, B14_HostBehindARunOfBlanks) {
  const Recorder far = run(plain("https://ok.test" + std::string(3000, ' ') + "@evil.test/"));
  EXPECT_EQ(far.all_hosts(), (std::vector<std::string>{"ok.test", "evil.test"}));
  EXPECT_TRUE(far.has(Anomaly::deceptive_url));
  // A link and a name beside it.
  const Recorder near = run(plain("https://ok.test  @friend.name https://ok.test/p" +
                                  std::string(3000, ' ') + "@friend.name"));
  EXPECT_EQ(near.all_hosts(), (std::vector<std::string>{"ok.test", "ok.test"}));
  EXPECT_FALSE(near.has(Anomaly::deceptive_url));
}

TEST(MimeCases, B14_UrlCap) {
  std::string body;
  for (int i = 0; i < 1000; ++i) body += "http://h" + std::to_string(i) + ".test/ ";
  const Recorder r = run(plain(body));
  EXPECT_EQ(r.all_urls().size(), 200u);
  EXPECT_TRUE(r.has(Anomaly::url_limit));
}

TEST(MimeCases, B14_UrlsInUnusualPlaces) {
  using Urls = std::vector<std::string>;
  EXPECT_EQ(run(html("<img src=http://i.test/1><form action='http://f.test/'>")).all_hosts(),
            (Urls{"i.test", "f.test"}));
  EXPECT_EQ(run(html("<meta http-equiv=refresh content=\"0; url=http://m.test/\">")).all_hosts(),
            Urls{"m.test"});
  EXPECT_EQ(run(html("<div style=\"background:url(http://s.test/b.png)\">")).all_urls(),
            Urls{"http://s.test/b.png"});
  EXPECT_EQ(run(html("<script>location='http://j.test/x';</script>")).all_urls(),
            Urls{"http://j.test/x"});
  EXPECT_EQ(run(html("<!-- [if mso]> <a href=\"http://c.test/\"> <![endif]-->")).all_hosts(),
            Urls{"c.test"});
  EXPECT_EQ(run(plain("(http://a.test/x) <http://b.test/y>, www.c.test. and "
                      "\"http://d.test/z\"!"))
                .all_urls(),
            (Urls{"http://a.test/x", "http://b.test/y", "www.c.test", "http://d.test/z"}));
}

TEST(MimeCases, B14_WhatEndsAUrlBeyondAscii) {
  using Urls = std::vector<std::string>;
  for (const char* end :
       {"\u00a0", "\u3000", "\u2003", "\u202f", "\u200b", "\ufeff", "”",      "“",     "’",  "»",
        "›",      "…",      "）",     "」",     "』",     "】",     "》",     "、",    "。", "，",
        "．",     "！",     "？",     "：",     "；",     "｡",      "\u2028", "\u0085"}) {
    for (const char* before : {"", "“", "（", "看"}) {
      const std::string text = std::string(before) + "http://a.test/p" + end;
      EXPECT_EQ(run(plain(text + "y")).all_urls(), Urls{"http://a.test/p"}) << text;
      EXPECT_EQ(run(plain(text + " y")).all_urls(), Urls{"http://a.test/p"}) << text;
      EXPECT_EQ(run(plain(text)).all_urls(), Urls{"http://a.test/p"}) << text;
    }
  }
  for (const char* end : {"\u00a0", "\u3000", "”", "）", "，", "\u0085"})
    EXPECT_EQ(run(plain("www.a.test" + std::string(end) + "y")).all_urls(), Urls{"www.a.test"});
  // What a browser takes for a dot of the host, or for nothing.
  EXPECT_EQ(run(plain("http://a。test/p")).all_hosts(), Urls{"a.test"});
  EXPECT_EQ(run(plain("http://a\u200b.te\u00adst/p")).all_hosts(), Urls{"a.test"});
  EXPECT_EQ(run(plain("http://a.test。 y")).all_urls(), Urls{"http://a.test"});
  EXPECT_EQ(run(plain("http://a.test。谢谢。")).all_urls(),
            (Urls{"http://a.test", "http://a.test。谢谢"}));
  // Letters of any kind go on.
  EXPECT_EQ(run(plain("http://a.test/страница-é")).all_urls(), Urls{"http://a.test/страница-é"});
  std::string dots = "http://a.test";
  for (int i = 0; i < 100'000; ++i) dots += "。";
  EXPECT_EQ(run(plain(dots + " x")).all_hosts(), Urls{"a.test"});
}

// Lines that a reader shows as one: long URLs are cut up by format=flowed with delsp (RFC 3676) and
// by folding (RFC 5545 3.1).
TEST(MimeCases, B03_UrlOverLinesThatAreOne) {
  using Urls = std::vector<std::string>;
  const auto flowed = [](const std::string& parameters, const std::string& body) {
    return run(test::text_message("Content-Type: text/plain; " + parameters + "\r\n", body));
  };
  const std::string both = "format=flowed; delsp=yes";
  const Recorder r = flowed(both, "see http://a.te \r\nst/p  \r\nand  more \r\n\r\nend \r\n");
  EXPECT_EQ(r.all_urls(), Urls{"http://a.test/p"});
  EXPECT_EQ(r.parts.at(0).text, "see http://a.test/p and  more\r\nend");
  EXPECT_EQ(flowed("DelSp=\"YES\"; Format=Flowed", "http://a.te \nst/p\n").all_urls(),
            Urls{"http://a.test/p"});
  EXPECT_EQ(flowed("format=flowed", "http://a.test/p \r\nq\r\n").all_urls(),
            Urls{"http://a.test/p"});
  EXPECT_EQ(flowed(both, "-- \r\nsignature\r\n> quoted \r\n> text\r\n").parts.at(0).text,
            "-- \r\nsignature\r\n> quoted \r\n> text\r\n");
  EXPECT_EQ(flowed(both, "a \rb \r").parts.at(0).text, "a \rb \r");

  for (const std::string type : {"text/calendar", "text/vcard", "text/x-vcard"}) {
    const Recorder folded =
        run(test::text_message("Content-Type: " + type + "; charset=utf-8\r\n",
                               "URL:http://a.t\r\n est\n\t/p\r\nSUMMARY:x \r\n\r\nEND:x\r\n\r"));
    EXPECT_EQ(folded.all_urls(), Urls{"http://a.test/p"});
    EXPECT_EQ(folded.parts.at(0).text, "URL:http://a.test/p\r\nSUMMARY:x \r\n\r\nEND:x\r\n\r");
  }
}

TEST(MimeCases, B14_UrlsInsideOtherUrlsAndDocuments) {
  using Urls = std::vector<std::string>;
  const Urls wanted{"http://a.test/p"};
  const std::string coded = "PGEgaHJlZj0iaHR0cDovL2EudGVzdC9wIj54PC9hPg==";
  for (const std::string& body : {
           std::string("<a href=\"javascript:window.open('http://a.test/p')\">x</a>"),
           std::string("<a href=\"JavaScript:location=&quot;http://a.test/p&quot;;f()\">x</a>"),
           std::string("<a href=\"javascript:f(%27http:%2f%2fa.test/p%27)\">x</a>"),
           std::string("<a href=\"java\nscript:f('http://a.test/p')\">x</a>"),
           std::string("<a href=\"data:text/html,<a href=http://a.test/p>x\">x</a>"),
           std::string("<a href=\"data:text/html,%3Ca%20href=http://a.test/p%3Ex\">x</a>"),
           "<a href=\"data:text/html;base64," + coded + "\">x</a>",
           "<object data=\"DATA:text/html;charset=utf-8;BASE64," + coded + "\">",
           std::string("<a href=\"data:text/html,<a href='&amp;#104;ttp://a.test/p'>x\">x</a>"),
           std::string("<iframe srcdoc=\"&lt;a href=http://a.test/p&gt;x\"></iframe>"),
           std::string("<iframe srcdoc='<a\nhref=\"http://a.test/p\">x</a>'></iframe>"),
           "<iframe srcdoc=\"" + std::string(20'000, 'x') + "<a href=http://a.test/p>\">",
           std::string("<iframe srcdoc='<script>f(\"http://a.test/p\")</script>'></iframe>"),
           std::string("<iframe srcdoc=\"<iframe srcdoc='&lt;img src=http://a.test/p&gt;'>\">"),
           std::string("<iframe srcdoc=\"see http://a.test/p\">"),
       }) {
    EXPECT_EQ(run(html(body)).all_urls(), wanted) << body.substr(0, 100);
  }
  EXPECT_EQ(run(html("<img src=\"data:image/png;base64,aHR0cDovL2EudGVzdC8=\">")).all_urls(),
            Urls{});
  // Documents in each other end somewhere.
  std::string deep = "<a href=http://a.test/p>";
  for (int i = 0; i < 6; ++i) {
    std::string escaped;
    for (const char c : deep)
      escaped += c == '&' ? "&amp;" : c == '"' ? "&quot;" : std::string(1, c);
    deep = "<iframe srcdoc=\"" + escaped + "\">";
  }
  EXPECT_TRUE(run(html(deep)).has(Anomaly::limit));
}

TEST(MimeCases, F11_LookAlikesAreBenign) {
  std::string links;
  for (int i = 0; i < 80; ++i)
    links += "<a href=\"https://click.news.test/r?u=" + std::to_string(i) + "\">www.shop.test</a>";
  const std::string messages[] = {
      html("On Monday <a href=\"first.last@a.test\">First</a> wrote"),
      plain("www.a.test&amp;sp"),
      "Subject: hi\r\n\r\nJ\xfcrgen\r\n",
      html(links),
  };
  for (const std::string& m : messages) {
    const Recorder r = run(m);
    EXPECT_TRUE(r.anomalies.empty()) << m.substr(0, 80);
  }
  EXPECT_EQ(run(messages[1]).all_urls(), std::vector<std::string>{"www.a.test"});
  EXPECT_EQ(run(messages[2]).parts.at(0).text, "J\xc3\xbcrgen\r\n");
}

}  // namespace
}  // namespace sluice::mime
