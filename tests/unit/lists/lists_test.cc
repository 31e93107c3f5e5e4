// Lists of domains, URLs, addresses, hashes and names: what counts as found, and what does not.
#include "dataplane/lists/lists.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <set>

#include "control/policy/compiled_lists.h"
#include "control/policy/match_list.h"

namespace sluice::test {
namespace {

using control::MatchKind;
using lists::Lists;
using lists::Place;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint32_t kAllAddresses =
    mask_of(Place::sender) | mask_of(Place::recipient) | mask_of(Place::from);

control::ListToCompile list_of(const std::string& name, MatchKind kind, std::string_view text,
                               std::uint32_t places = 0) {
  control::ListToCompile one;
  one.list.rule.name = name;
  one.list.places = places != 0                  ? places
                    : kind == MatchKind::url     ? mask_of(Place::url)
                    : kind == MatchKind::address ? kAllAddresses
                                                 : mask_of(Place::attachment);
  one.entries = std::make_shared<const control::MatchList>(control::parse_match_list(text, kind));
  EXPECT_EQ(one.entries->fault_count, 0u)
      << (one.entries->faults.empty() ? "" : one.entries->faults.front().text);
  return one;
}

std::shared_ptr<const Lists> open(const std::vector<control::ListToCompile>& lists) {
  const auto compiled = control::compile_lists(lists);
  EXPECT_TRUE(compiled) << compiled.error();
  auto opened = Lists::open((*compiled)->image);
  EXPECT_TRUE(opened) << opened.error();
  return *opened;
}

struct Found final : Lists::Hits {
  void on_list(const lists::List& list) override { names.insert(list.rule.name); }
  std::multiset<std::string> names;
};
using Names = std::multiset<std::string>;

Names url(const Lists& lists, std::string_view text, std::string_view host) {
  Found found;
  lists.find_url(text, host, std::pmr::get_default_resource(), found);
  return found.names;
}
Names address(const Lists& lists, std::string_view text, Place place = Place::sender) {
  Found found;
  lists.find_address(place, text, found);
  return found.names;
}
Names name(const Lists& lists, std::string_view text) {
  Found found;
  lists.find_name(text, found);
  return found.names;
}

TEST(Lists, DomainsHoldForWhatIsBelowThem) {
  const auto lists = open({list_of("tree", MatchKind::url, "Bad.Example\n.worse.test\n"),
                           list_of("exact", MatchKind::url, "=www.bad.example\n192.0.2.1\n")});
  EXPECT_THAT(url(*lists, "http://bad.example/", "bad.example"), ElementsAre("tree"));
  EXPECT_THAT(url(*lists, "http://a.b.bad.example", "a.b.bad.example"), ElementsAre("tree"));
  EXPECT_THAT(url(*lists, "http://www.bad.example", "www.bad.example"),
              ElementsAre("exact", "tree"));
  EXPECT_THAT(url(*lists, "http://bad.example.", "bad.example."), ElementsAre("tree"));
  EXPECT_THAT(url(*lists, "http://x.worse.test", "x.worse.test"), ElementsAre("tree"));
  EXPECT_THAT(url(*lists, "http://192.0.2.1", "192.0.2.1"), ElementsAre("exact"));
  for (const char* host : {"notbad.example", "example", "bad.example.org", "xbad.example",
                           "b.192.0.2.1", "a.www.other.example", "ad.example", ""}) {
    EXPECT_THAT(url(*lists, std::string("http://") + host, host), IsEmpty()) << host;
  }
  EXPECT_THAT(url(*lists, "http://deep.www.bad.example", "deep.www.bad.example"),
              ElementsAre("tree"));
}

TEST(Lists, WholeUrlsInOneForm) {
  const auto lists = open({list_of("u", MatchKind::url,
                                   "http://bad.example/Path?q=1\nhttps://other.example:8080/x\n"
                                   "bare.example/\n")});
  for (const char* text : {"http://bad.example/Path?q=1", "https://bad.example:443/Path?q=1",
                           "hTTp://user:pw@BAD.example/Path?q=1#top",
                           "http:\\\\bad.example\\Path?q=1", "//bad.example/Path?q=1"}) {
    EXPECT_THAT(url(*lists, text, "bad.example"), ElementsAre("u")) << text;
  }
  for (const char* text : {"http://bad.example/path?q=1", "http://bad.example/Path",
                           "http://bad.example:81/Path?q=1", "http://bad.example"}) {
    EXPECT_THAT(url(*lists, text, "bad.example"), IsEmpty()) << text;
  }
  EXPECT_THAT(url(*lists, "http://other.example:8080/x", "other.example"), ElementsAre("u"));
  EXPECT_THAT(url(*lists, "http://bare.example", "bare.example"), ElementsAre("u"));
  EXPECT_THAT(url(*lists, "www.bare.example", "www.bare.example"), IsEmpty());
}

TEST(Lists, InternationalDomainsAreComparedAsALabels) {
  const auto lists = open({list_of("u", MatchKind::url,
                                   "b\xc3\xbc"
                                   "cher.example\n")});
  EXPECT_THAT(url(*lists, "http://bücher.example/", "xn--bcher-kva.example"), ElementsAre("u"));
}

TEST(Lists, Addresses) {
  const auto lists =
      open({list_of("a", MatchKind::address, "User@Bad.example\n@one.example\ntree.example\n"),
            list_of("r", MatchKind::address, "rcpt@bad.example\n", mask_of(Place::recipient))});
  EXPECT_THAT(address(*lists, "user@bad.EXAMPLE"), ElementsAre("a"));
  EXPECT_THAT(address(*lists, "other@bad.example"), IsEmpty());
  EXPECT_THAT(address(*lists, "x@one.example"), ElementsAre("a"));
  EXPECT_THAT(address(*lists, "x@sub.one.example"), IsEmpty());
  EXPECT_THAT(address(*lists, "x@tree.example"), ElementsAre("a"));
  EXPECT_THAT(address(*lists, "x@a.b.tree.example"), ElementsAre("a"));
  EXPECT_THAT(address(*lists, "x@notree.example"), IsEmpty());
  EXPECT_THAT(address(*lists, "\"a@one.example\"@safe.example"), IsEmpty());
  EXPECT_THAT(address(*lists, "one.example"), IsEmpty());
  EXPECT_THAT(address(*lists, ""), IsEmpty());
  EXPECT_THAT(address(*lists, "rcpt@bad.example"), IsEmpty());
  EXPECT_THAT(address(*lists, "rcpt@bad.example", Place::recipient), ElementsAre("r"));
}

TEST(Lists, Names) {
  const auto lists =
      open({list_of("n", MatchKind::file_name, "Invoice.EXE\n*.scr\n.tar.gz\nmy file.doc\n")});
  for (const char* text : {"invoice.exe", "INVOICE.exe", "a.scr", "x.y.SCR", "b.tar.gz",
                           "my file.doc", "invoice.exe .", "a.scr..."}) {
    EXPECT_THAT(name(*lists, text), ElementsAre("n")) << text;
  }
  for (const char* text : {"an invoice.exe", "scr", "a.scr.txt", "tar.gz", "b.gz", "", "."}) {
    EXPECT_THAT(name(*lists, text), IsEmpty()) << text;
  }
  const std::string dots(100'000, '.');
  EXPECT_THAT(name(*lists, dots + "scr"), ElementsAre("n"));
}

TEST(Lists, Hashes) {
  const auto lists =
      open({list_of("h", MatchKind::hash,
                    "D41D8CD98F00B204E9800998ECF8427E  empty.bin\n"
                    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n")});
  EXPECT_TRUE(lists->has(lists::Kind::md5));
  EXPECT_TRUE(lists->has(lists::Kind::sha256));
  Found found;
  const std::array<std::uint8_t, 16> md5{0xd4, 0x1d, 0x8c, 0xd9, 0x8f, 0x00, 0xb2, 0x04,
                                         0xe9, 0x80, 0x09, 0x98, 0xec, 0xf8, 0x42, 0x7e};
  lists->find_md5(md5, found);
  EXPECT_THAT(found.names, ElementsAre("h"));
  auto other = md5;
  other[15] ^= 1;
  found.names.clear();
  lists->find_md5(other, found);
  EXPECT_THAT(found.names, IsEmpty());
}

// Against a set of strings, with texts that are near to those in it: never one more, never one
// less.
TEST(Lists, AgreeWithASetOfStrings) {
  std::mt19937 random(7);
  const auto label = [&] {
    std::string text;
    const std::size_t size = 1 + random() % 3;
    for (std::size_t i = 0; i < size; ++i) text += static_cast<char>('a' + random() % 4);
    return text;
  };
  std::set<std::string> entries;
  std::string text;
  for (int i = 0; i < 3000; ++i) {
    std::string host = label() + "." + label();
    if (random() % 2) host += "." + label();
    if (entries.insert(host).second) text += host + "\n";
  }
  const auto lists = open({list_of("l", MatchKind::url, text)});
  for (int i = 0; i < 20'000; ++i) {
    std::string host = label();
    for (std::size_t n = random() % 4; n > 0; --n) host += "." + label();
    bool expected = false;
    for (std::string rest = host;;) {
      expected |= entries.contains(rest);
      const std::size_t dot = rest.find('.');
      if (dot == std::string::npos) break;
      rest.erase(0, dot + 1);
    }
    EXPECT_EQ(!url(*lists, "http://" + host, host).empty(), expected) << host;
  }
}

TEST(Lists, OneTextOnSeveralLists) {
  const auto lists = open({list_of("a", MatchKind::url, "x.example\nx.example\n"),
                           list_of("b", MatchKind::url, "x.example\n")});
  EXPECT_THAT(url(*lists, "http://x.example", "x.example"), ElementsAre("a", "b"));
  EXPECT_EQ(lists->entries(), 2u);
}

TEST(Lists, SameListsSameOctets) {
  const std::vector lists{list_of("a", MatchKind::url, "x.example\ny.example\n")};
  EXPECT_EQ((*control::compile_lists(lists))->digest, (*control::compile_lists(lists))->digest);
  EXPECT_NE((*control::compile_lists(lists))->digest,
            (*control::compile_lists({list_of("a", MatchKind::url, "x.example\n")}))->digest);
}

TEST(Lists, DamagedSectionsAreRefused) {
  const auto compiled =
      control::compile_lists({list_of("a", MatchKind::url, "x.example\ny.example\n"),
                              list_of("n", MatchKind::file_name, "*.exe\n")});
  const std::vector<std::uint8_t>& good = (*compiled)->image;
  ASSERT_TRUE(Lists::open(good));
  for (std::size_t size = 0; size < good.size(); size += 8) {
    const std::vector<std::uint8_t> cut(good.begin(), good.begin() + static_cast<long>(size));
    EXPECT_FALSE(Lists::open(cut)) << size;
  }
  std::mt19937 random(3);
  for (int i = 0; i < 5000; ++i) {
    std::vector<std::uint8_t> bad = good;
    for (int n = 0; n < 3; ++n) bad[random() % bad.size()] = static_cast<std::uint8_t>(random());
    // Taken or refused, but never read out of bounds (the sanitizers look).
    if (const auto opened = Lists::open(bad)) {
      url(**opened, "http://a.x.example/", "a.x.example");
      name(**opened, "a.exe");
    }
  }
}

TEST(MatchListFile, FaultsNameTheLine) {
  struct Case {
    MatchKind kind;
    const char* line;
    const char* text;
  };
  const Case cases[] = {
      {MatchKind::url, "com", "has one label"},
      {MatchKind::url, "a..example", "is no label"},
      {MatchKind::url, "-a.example", "is no label"},
      {MatchKind::url, "a b.example", "has a blank inside"},
      {MatchKind::url, "/path", "is neither a domain nor a URL"},
      {MatchKind::url, "http://", "is no domain"},
      {MatchKind::url, "a*.example", "is no label"},
      {MatchKind::address, "user@", "is no domain"},
      {MatchKind::address, "user@a..b", "is no label"},
      {MatchKind::address, "localhost", "has one label"},
      {MatchKind::address, "a b@x.example", "has a blank inside"},
      {MatchKind::hash, "12345", "has 5 characters"},
      {MatchKind::hash, "da39a3ee5e6b4b0d3255bfef95601890afd80709", "SHA-1 is not looked up"},
      {MatchKind::hash, "zz1d8cd98f00b204e9800998ecf8427e", "no hexadecimal digit"},
      {MatchKind::file_name, "inv*ice.exe", "* stands only in *.EXT"},
      {MatchKind::file_name, "a/b.exe", "holds no ?, / or \\"},
      {MatchKind::file_name, "*.", "is no file name"},
  };
  for (const Case& c : cases) {
    const auto list =
        control::parse_match_list(std::string("# comment\n\n") + c.line + " # why\r\n", c.kind);
    ASSERT_EQ(list.fault_count, 1u) << c.line;
    EXPECT_EQ(list.faults[0].line, 3u) << c.line;
    EXPECT_THAT(list.faults[0].text, HasSubstr(c.text)) << c.line;
    EXPECT_THAT(list.faults[0].text, HasSubstr(std::string("'") + c.line)) << c.line;
    EXPECT_EQ(list.entries, 0u);
  }
}

TEST(MatchListFile, CommentsBlanksAndByteOrderMarks) {
  const auto list = control::parse_match_list(
      "\xef\xbb\xbf\t a.example  # one\r\n#b.example\n\nhttp://c.example/#frag\nd.example",
      MatchKind::url);
  EXPECT_EQ(list.fault_count, 0u);
  EXPECT_EQ(list.entries, 3u);
  EXPECT_EQ(list.lines, 5u);
}

}  // namespace
}  // namespace sluice::test
