// The stages of the MIME parser by themselves: HTML text, addresses, types, uuencode, base64.
#include <gtest/gtest.h>

#include <memory_resource>
#include <string>
#include <vector>

#include "dataplane/base/limited_resource.h"
#include "dataplane/mime/address.h"
#include "dataplane/mime/content.h"
#include "dataplane/mime/magic.h"
#include "dataplane/mime/transfer.h"
#include "tests/unit/mime/recorder.h"

namespace sluice::mime {
namespace {

using namespace std::string_literals;

std::string visible(const std::string& html) {
  const std::string message = "Content-Type: text/html; charset=utf-8\r\n\r\n" + html;
  test::Recorder whole;
  test::parse(whole, message, 0, {});
  for (const long size : {1L, -1L, -2L}) {
    test::Recorder again;
    test::parse(again, message, size, {});
    EXPECT_TRUE(again == whole) << html;
  }
  return whole.parts.at(0).text;
}

TEST(MimeHtml, TextAsAReaderSeesIt) {
  EXPECT_EQ(visible("<html><head><title>T</title></head><body><p>a  b\r\n c</p><p>d</body>"),
            "T\na b c\nd\n");
  EXPECT_EQ(visible("vi<b></b>ag<i>r</i>a"), "viagra");
  EXPECT_EQ(visible("vi&shy;ag\xc2\xadr&#8203;a\xe2\x80\x8b!"), "viagra!");
  EXPECT_EQ(visible("a&nbsp;b\xc2\xa0"
                    "c"),
            "a b c");
  EXPECT_EQ(visible("<style>p{x}</style>a<script>var b='</p>';</script>c"), "ac");
  EXPECT_EQ(visible("a<!-- x > y -->b<!>c<!-->d<!---->e"), "abcde");
  EXPECT_EQ(visible("1 < 2 & 3 > 2"), "1 < 2 & 3 > 2");
  EXPECT_EQ(visible("&lt;b&gt; &amp;amp; &quot;&#65;&#x42;&bogus;&copy; &copy 1"),
            "<b> &amp; \"AB&bogus;\xc2\xa9 \xc2\xa9 1");
  EXPECT_EQ(visible("<td>a</td><td>b</td>"), "a b");
  EXPECT_EQ(visible("a<br>b<br/>c<div>d</div>e"), "a\nb\nc\nd\ne");
  EXPECT_EQ(visible("<p title='a > b'>c</p>"), "c\n");
  EXPECT_EQ(visible("<a href=x>l</a>\xe4\xb8\xad\xf0\x9f\x98\x80"),
            "l\xe4\xb8\xad\xf0\x9f\x98\x80");
  EXPECT_EQ(visible("text <b"), "text");
  EXPECT_EQ(visible("x&#0;y&#1114112;"), "xy\xef\xbf\xbd");
}

TEST(MimeHtml, UrlStandsBeforeLinkInOrder) {
  test::Recorder r;
  test::parse(r, "Content-Type: text/html\r\n\r\nhttp://x.test/1 and <img src=http://i.test/>", 0,
              {});
  EXPECT_EQ(r.all_hosts(), (std::vector<std::string>{"x.test", "i.test"}));
}

struct Collect final : MailboxSink {
  std::vector<std::string> list;
  void on_mailbox(const Mailbox& m) override {
    list.push_back(std::string(m.name) + "|" + std::string(m.address) +
                   (m.group.empty() ? "" : "|" + std::string(m.group)));
  }
};

std::vector<std::string> addresses(std::string_view raw, std::size_t limit = 100) {
  Collect c;
  const bool all = parse_addresses(raw, limit, c, std::pmr::new_delete_resource());
  EXPECT_EQ(all, c.list.size() < limit);
  return c.list;
}

TEST(MimeAddress, Forms) {
  using List = std::vector<std::string>;
  EXPECT_EQ(addresses("a@x.test"), List{"|a@x.test"});
  EXPECT_EQ(addresses("Al Gore <a@x.test>, \"B, C\" <b@x.test>"),
            (List{"Al Gore|a@x.test", "B, C|b@x.test"}));
  EXPECT_EQ(addresses("a@x.test (Al Gore)"), List{"Al Gore|a@x.test"});
  EXPECT_EQ(addresses("A1 (The Enforcer) Gore <v@x.test>"),
            List{"A1 Gore (The Enforcer)|v@x.test"});
  EXPECT_EQ(addresses("=?utf-8?q?M=C3=BCller=2C_H?= <m@x.test>"),
            List{"M\xc3\xbcller, H|m@x.test"});
  EXPECT_EQ(addresses("Team: a@x.test, b@x.test;, c@x.test"),
            (List{"|a@x.test|Team", "|b@x.test|Team", "|c@x.test"}));
  EXPECT_EQ(addresses("undisclosed-recipients:;"), List{});
  EXPECT_EQ(addresses("<@r1.test,@r2.test:u@x.test>"), List{"|u@x.test"});
  EXPECT_EQ(addresses("\"a b\"@x.test"), List{"|\"a b\"@x.test"});
  EXPECT_EQ(addresses("A <a@x.test, B <b@x.test>"), (List{"A|a@x.test", "B|b@x.test"}));
  EXPECT_EQ(addresses("A <a@x.test> B <b@x.test>"), (List{"A|a@x.test", "B|b@x.test"}));
  EXPECT_EQ(addresses("\"open quote <a@x.test>"), List{"open quote|a@x.test"});
  EXPECT_EQ(addresses("a@x.test,b@x.test,c@x.test", 2), (List{"|a@x.test", "|b@x.test"}));
  EXPECT_EQ(addresses(""), List{});
  EXPECT_EQ(addresses("(((a"), List{"((a|"});
}

TEST(MimeAddress, ShownAsEveShowsThem) {
  const auto shown = [](std::string_view name, std::string_view address) {
    std::pmr::string out;
    append_mailbox({name, address, {}}, out);
    return std::string(out);
  };
  EXPECT_EQ(shown("", "a@x.test"), "a@x.test");
  EXPECT_EQ(shown("Al Gore", "a@x.test"), "Al Gore <a@x.test>");
  EXPECT_EQ(shown("Gore, \"Al\"", "a@x.test"), "\"Gore, \\\"Al\\\"\" <a@x.test>");
}

TEST(MimeMagic, Types) {
  using namespace std::string_view_literals;
  const auto type = [](std::string_view octets) { return detect_type(as_bytes(octets)); };
  EXPECT_EQ(type("PK\3\4 and more"), "application/zip");
  EXPECT_EQ(type("%PDF-1.7"), "application/pdf");
  EXPECT_EQ(type("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 more"), "application/x-ole-storage");
  EXPECT_EQ(type("MZ\x90"), "application/vnd.microsoft.portable-executable");
  EXPECT_EQ(type("\x7f"
                 "ELF"),
            "application/x-elf");
  EXPECT_EQ(type("\x89PNG\r\n\x1a\n"), "image/png");
  EXPECT_EQ(type("{\\rtf1"), "text/rtf");
  EXPECT_EQ(type("\xef\xbb\xbf  <!DOCTYPE HTML>"), "text/html");
  EXPECT_EQ(type("#!/bin/sh"), "text/x-shellscript");
  EXPECT_EQ(type("L\0\0\0\1\x14\2\0"sv), "application/x-ms-shortcut");
  EXPECT_EQ(type("BM is no bitmap here"), "");
  EXPECT_EQ(type("hello"), "");
  EXPECT_EQ(type(""), "");
  std::string iso(0x8001, '\0');
  iso += "CD001";
  for (const std::size_t cut : {std::size_t{1}, std::size_t{4096}, iso.size()}) {
    TypeDetector d;
    for (std::size_t at = 0; at < iso.size(); at += cut)
      d.feed(as_bytes(std::string_view(iso).substr(at, cut)));
    EXPECT_EQ(d.type(), "application/x-iso9660-image");
  }
}

TEST(MimeNames, DangerOfNames) {
  EXPECT_GT(danger_of_name("a.exe"), danger_of_name("a.doc"));
  EXPECT_GT(danger_of_name("a.doc"), danger_of_name("a.txt"));
  EXPECT_EQ(danger_of_name("a.txt.exe . "), danger_of_name("A.EXE"));
  EXPECT_EQ(danger_of_name("noextension"), 0);
}

// The quick decoder against one that takes a character at a time, at every length and offset of
// junk.
TEST(MimeTransfer, Base64AgainstTheObvious) {
  std::minstd_rand random(7);
  const std::string alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (int round = 0; round < 3000; ++round) {
    std::string coded;
    std::string want;
    std::uint32_t bits = 0;
    int count = 0;
    const bool lines = random() % 2 == 0;
    const std::size_t size = random() % (lines ? 1000 : 120);
    // Whole groups and others, up to longer lines than are read at once.
    const std::size_t line = random() % 2 == 0 ? 76 : random() % 140 + 1;
    for (std::size_t i = 0; i < size; ++i) {
      if (lines && i > 0 && i % line == 0) coded += "\r\n";
      if (random() % (lines ? 300 : 23) == 0) {
        coded.push_back("\r\n \x80\xff-_*"[random() % 8]);
        continue;
      }
      const std::size_t v = random() % 64;
      coded.push_back(alphabet[v]);
      bits = bits << 6 | static_cast<std::uint32_t>(v);
      if (++count % 4 == 0) {
        for (const int shift : {16, 8, 0}) want.push_back(static_cast<char>(bits >> shift));
        bits = 0;
      }
    }
    if (count % 4 == 2) want.push_back(static_cast<char>(bits >> 4));
    if (count % 4 == 3) {
      want.push_back(static_cast<char>(bits >> 10));
      want.push_back(static_cast<char>(bits >> 2));
    }
    for (const int together : {64, 32, 16}) {
      Base64Decoder decoder;
      decoder.use_wide(together == 64);
      decoder.use_vectors(together >= 32);
      // Room for exactly what is promised, so that a write beyond it is seen.
      std::vector<std::uint8_t> out(coded.size() + Base64Decoder::kSlack);
      const std::size_t cut = coded.empty() ? 0 : random() % coded.size();
      std::string have;
      for (const std::string_view piece :
           {std::string_view(coded).substr(0, cut), std::string_view(coded).substr(cut)}) {
        const std::size_t n = decoder.decode(as_bytes(piece), out.data());
        have.append(reinterpret_cast<const char*>(out.data()), n);
      }
      const std::size_t n = decoder.finish(out.data());
      have.append(reinterpret_cast<const char*>(out.data()), n);
      ASSERT_EQ(have, want) << coded;
    }
  }
}

TEST(MimeTransfer, UuencodedLines) {
  EXPECT_TRUE(is_uuencoded_line("#86)C", true));
  EXPECT_FALSE(is_uuencoded_line("hello there", true));
  EXPECT_FALSE(is_uuencoded_line("HELLO THERE", true));
  EXPECT_TRUE(is_uuencoded_line("`", true));
  EXPECT_EQ(uu_begin_name("begin 644 a b.exe"), "a b.exe");
  EXPECT_EQ(uu_begin_name("begin 644"), "");
  EXPECT_EQ(uu_begin_name("begin 9 x"), "");
}

TEST(MimeMemory, BoundedWhateverComes) {
  class Bounded final : public std::pmr::memory_resource {
   public:
    explicit Bounded(std::size_t limit) : left_(limit) {}

   private:
    void* do_allocate(std::size_t size, std::size_t alignment) override {
      if (size > left_) throw std::bad_alloc();
      left_ -= size;
      return std::pmr::new_delete_resource()->allocate(size, alignment);
    }
    void do_deallocate(void* p, std::size_t size, std::size_t alignment) override {
      left_ += size;
      std::pmr::new_delete_resource()->deallocate(p, size, alignment);
    }
    bool do_is_equal(const std::pmr::memory_resource& o) const noexcept override {
      return this == &o;
    }
    std::size_t left_;
  };
  std::string message =
      "Subject: x\r\nContent-Type: multipart/mixed; boundary=b; boundary=c\r\n\r\n";
  for (int i = 0; i < 50; ++i)
    message += "--b\r\nContent-Type: text/html; name=" +
               std::string(static_cast<std::size_t>(i) * 10, 'n') + "\r\n\r\n<a href=http://h" +
               std::to_string(i) + ".test/>\r\n";
  std::size_t most = 0;
  {
    test::Recorder r;
    LimitedResource memory(std::pmr::new_delete_resource(), std::size_t{1} << 20);
    Parser parser({}, r, &memory);
    for (const char c : message) {
      parser.feed(as_bytes({&c, 1}));
      most = std::max(most, memory.used());
    }
    parser.finish();
  }
  EXPECT_LT(most, 64u * 1024);
  // A resource that runs out: no exception, the rest goes on undivided, the event is raised.
  for (std::size_t limit = 4096; limit < most; limit += 512) {
    Bounded memory(limit);
    test::Recorder r;
    Parser parser({}, r, &memory);
    parser.feed(as_bytes(message));
    parser.feed(as_bytes(message));
    parser.finish();
    EXPECT_TRUE(r.has(contract::Anomaly::limit)) << limit;
  }
}

}  // namespace
}  // namespace sluice::mime
