// Case B19: archives are looked into, and bombs stop at their bounds.
#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdio>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "tests/unit/mime/recorder.h"

namespace sluice::mime {
namespace {

using namespace std::string_view_literals;
using contract::Anomaly;
using test::Recorder;

std::string deflated(std::string_view text, int window_bits) {
  z_stream z{};
  EXPECT_EQ(deflateInit2(&z, 9, Z_DEFLATED, window_bits, 9, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(compressBound(text.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&z, Z_FINISH), Z_STREAM_END);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}
std::string gzip(std::string_view text) { return deflated(text, 31); }

void put(std::string& s, std::uint64_t v, int octets) {
  for (int i = 0; i < octets; ++i) s.push_back(i < 8 ? static_cast<char>(v >> (8 * i)) : '\0');
}

struct Entry {
  std::string name, content;
  bool store = false;
  bool sizes_follow = false;
  int copies = 1;        // times the central directory lists it
  std::string extra{};   // fields of the local header,
  std::string listed{};  // and of the directory
};

std::string zip(const std::vector<Entry>& entries) {
  std::string out;
  std::string directory;
  for (const Entry& e : entries) {
    const std::string data = e.store ? e.content : deflated(e.content, -15);
    const auto offset = out.size();
    const auto crc = crc32(0, reinterpret_cast<const Bytef*>(e.content.data()),
                           static_cast<uInt>(e.content.size()));
    const auto fields = [&](std::string& to, bool sizes) {
      put(to, 20, 2);
      put(to, e.sizes_follow ? 8 : 0, 2);
      put(to, e.store ? 0 : 8, 2);
      put(to, 0, 4);
      put(to, sizes ? crc : 0, 4);
      put(to, sizes ? data.size() : 0, 4);
      put(to, sizes ? e.content.size() : 0, 4);
      put(to, e.name.size(), 2);
    };
    out += "PK\3\4";
    fields(out, !e.sizes_follow);
    put(out, e.extra.size(), 2);
    out += e.name + e.extra + data;
    if (e.sizes_follow) {
      out += "PK\7\10";
      put(out, crc, 4);
      put(out, data.size(), 4);
      put(out, e.content.size(), 4);
    }
    for (int i = 0; i < e.copies; ++i) {
      directory += "PK\1\2";
      put(directory, 20, 2);
      fields(directory, true);
      put(directory, e.listed.size(), 2);
      put(directory, 0, 10);
      put(directory, offset, 4);
      directory += e.name + e.listed;
    }
  }
  return out + directory + "PK\5\6" + std::string(18, '\0');
}

Recorder run(const std::string& file, Limits limits = test::all_wanted(), bool cuts = true) {
  const std::string message = "Content-Type: application/x; name=a.bin\r\n\r\n" + file;
  Recorder whole;
  test::parse(whole, message, 0, limits);
  EXPECT_FALSE(whole.faulty);
  for (const auto& [n, p] : whole.parts) EXPECT_TRUE(p.begun && p.ended) << n;
  for (const long size : {1L, 536L, -1L, -2L}) {
    if (!cuts) break;
    Recorder again;
    test::parse(again, message, size, limits);
    EXPECT_TRUE(again == whole) << size;
  }
  EXPECT_EQ(whole.parts.at(0).decoded, file);
  return whole;
}

const test::RecordedPart& member(const Recorder& r, PartNumber n) {
  return r.parts.at(kArchiveMember + n);
}

TEST(MimeArchives, B19_MembersOfZip) {
  const std::string text = "a SIGNATURE in a member";
  const Recorder r = run(zip({{"one.txt", text},
                              {"two.exe", "MZ" + text, true},
                              {"three.txt", text, false, true},
                              {"dir/", "", true},
                              {"four.txt", std::string(100'000, 'x') + text}}));
  ASSERT_EQ(r.parts.size(), 6u);
  EXPECT_EQ(member(r, 0).name, "one.txt");
  EXPECT_EQ(member(r, 0).other, text);
  EXPECT_EQ(member(r, 1).name, "two.exe");
  EXPECT_EQ(member(r, 1).other, "MZ" + text);
  EXPECT_EQ(member(r, 2).other, text);
  EXPECT_EQ(member(r, 3).octets, 0u);
  EXPECT_EQ(member(r, 4).octets, 100'000 + text.size());
  EXPECT_TRUE(member(r, 4).alternative);
  EXPECT_EQ(member(r, 4).parent, 0u);
  EXPECT_FALSE(r.has(Anomaly::limit));
}

TEST(MimeArchives, B19_MembersOfGzip) {
  const Recorder r = run(gzip("first ") + gzip("SIGNATURE") + std::string(10, '\0'));
  ASSERT_EQ(r.parts.size(), 3u);
  EXPECT_EQ(member(r, 0).other + member(r, 1).other, "first SIGNATURE");
  EXPECT_FALSE(r.has(Anomaly::limit));
}

// What programs show is the directory's name, which the local header need not have.
TEST(MimeArchives, NamesThatOnlyTheDirectoryHas) {
  std::string file = zip({{"good.txt", "one"}, {"same.txt", "two"}, {"last.txt", "three"}});
  const std::size_t at = file.rfind("good.txt");
  const Recorder r = run(file.replace(at, 8, "evil.exe"));
  ASSERT_EQ(r.parts.size(), 5u);
  EXPECT_EQ(member(r, 0).name, "good.txt");
  EXPECT_EQ(member(r, 3).name, "evil.exe");
  EXPECT_EQ(member(r, 3).octets, 0u);
  // In another order, with others left out, listed twice or without a name: they are known.
  std::string other = zip({{"a", "one"}, {"b", "two", false, false, 2}, {"c", "three", true}});
  const std::size_t directory = other.find("PK\1\2");
  const std::size_t entry = 4 + 42 + 1;
  other = other.substr(0, directory) + other.substr(directory + 3 * entry) +
          other.substr(directory + entry, entry) + "PK\1\2" + std::string(42, '\0');
  EXPECT_EQ(run(other).parts.size(), 4u);
}

// Some programs show the name of Info-ZIP's Unicode path field in place of the header's.
TEST(MimeArchives, NamesOfUnicodePathFields) {
  const auto field = [](std::uint16_t id, const std::string& data) {
    std::string out;
    put(out, id, 2);
    put(out, data.size(), 2);
    return out + data;
  };
  const auto path = [&](const std::string& name) { return field(0x7075, "\1crc_" + name); };
  const std::string time = field(0x5455, std::string("\3\0\0\0\0\0\0\0\0", 9));
  const Recorder r = run(zip(
      {{.name = "a.txt",
        .content = "one",
        .extra = time + path("a.exe") + field(1, ""),
        .listed = path("a.exe")},
       {.name = "b.txt", .content = "two", .listed = time + path("b.scr")},
       {.name = "c.txt", .content = "three", .extra = path("c.txt") + field(0x7075, "\1crc_")}}));
  std::vector<std::string> names;
  for (const auto& [n, p] : r.parts)
    if (n >= kArchiveMember) names.push_back(p.name);
  EXPECT_EQ(names, (std::vector<std::string>{"a.exe", "a.txt", "b.txt", "c.txt", "b.scr"}));
  EXPECT_EQ(member(r, 1).other, "one");
  // Cut within the field, the name of the directory is there.
  std::string file = zip({{.name = "x.txt", .content = "x", .copies = 0}});
  file.resize(file.size() - 22);
  std::string entry = "PK\1\2" + std::string(24, '\0');
  put(entry, 5, 2);
  put(entry, 100, 2);
  entry += std::string(14, '\0') + "y.exe" + path("z.exe");
  const Recorder cut = run(file + entry);
  EXPECT_EQ(member(cut, 1).name, "y.exe");
}

TEST(MimeArchives, NamesOfGzip) {
  const auto named = [](std::string_view name, bool extra) {
    std::string file = gzip("content");
    file[3] = static_cast<char>(8 | (extra ? 4 : 0));
    std::string fields = extra ? std::string("\3\0abc", 5) : std::string();
    fields += name;
    return file.insert(10, fields + '\0');
  };
  const Recorder r = run(named("evil.exe", false) + named("two.txt", true) + gzip("content") +
                         named(std::string(300, 'n'), false));
  ASSERT_EQ(r.parts.size(), 5u);
  EXPECT_EQ(member(r, 0).name, "evil.exe");
  EXPECT_EQ(member(r, 1).name, "two.txt");
  EXPECT_EQ(member(r, 2).name, "");
  EXPECT_EQ(member(r, 3).name, std::string(256, 'n'));
  for (unsigned i = 0; i < 4; ++i) EXPECT_EQ(member(r, i).other, "content");
}

std::vector<std::string> names_in(const std::string& file) {
  std::vector<std::string> names;
  for (const auto& [number, part] : run(file).parts) {
    if (number < kArchiveMember) continue;
    EXPECT_TRUE(part.alternative);
    EXPECT_EQ(part.octets, 0u);
    names.push_back(part.name);
  }
  return names;
}

// As a program writes them.
std::string tar(int format, const std::vector<std::string>& names) {
  std::string out(names.size() * 8192, '\0');
  std::size_t used = 0;
  struct archive* const a = archive_write_new();
  EXPECT_EQ(archive_write_set_format(a, format), ARCHIVE_OK);
  EXPECT_EQ(archive_write_open_memory(a, out.data(), out.size(), &used), ARCHIVE_OK);
  for (const std::string& name : names) {
    struct archive_entry* const entry = archive_entry_new();
    archive_entry_set_pathname(entry, name.c_str());
    archive_entry_set_filetype(entry, name.ends_with('/') ? AE_IFDIR : AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, name.ends_with('/') ? 0 : 700);
    EXPECT_EQ(archive_write_header(a, entry), ARCHIVE_OK) << name;
    const std::string content(700, 'c');
    if (!name.ends_with('/')) archive_write_data(a, content.data(), content.size());
    archive_entry_free(entry);
  }
  EXPECT_EQ(archive_write_close(a), ARCHIVE_OK);
  archive_write_free(a);
  out.resize(used);
  return out;
}

TEST(MimeArchives, NamesInTar) {
  const std::string beyond = std::string(140, 'd') + "/" + std::string(90, 'f') + "x.exe";
  const std::vector<std::string> names{"one.txt", "dir/", "dir/evil.exe", beyond, "last.exe"};
  for (const int format :
       {ARCHIVE_FORMAT_TAR_USTAR, ARCHIVE_FORMAT_TAR_GNUTAR, ARCHIVE_FORMAT_TAR_PAX_INTERCHANGE}) {
    const std::string file = tar(format, names);
    const std::vector<std::string> files{"one.txt", "dir/evil.exe", beyond, "last.exe"};
    EXPECT_EQ(names_in(file), files) << format;
    // Another behind it; its end cut off; in a gzip file.
    std::vector<std::string> twice = files;
    twice.insert(twice.end(), files.begin(), files.end());
    EXPECT_EQ(names_in(file + file), twice) << format;
    EXPECT_EQ(names_in(file.substr(0, file.size() - 10'240)).at(1), "dir/evil.exe") << format;
    EXPECT_EQ(member(run(gzip(file)), 2).name, "dir/evil.exe") << format;
  }
  // Around a zip file that is stored in it: members come in the order of the octets.
  std::string around = tar(ARCHIVE_FORMAT_TAR_USTAR, {"a.zip", "b.txt"});
  const std::string zipped = zip({{"in.exe", "content", true}});
  around.replace(512, zipped.size(), zipped);
  const Recorder mixed = run(around);
  EXPECT_EQ(member(mixed, 0).name, "a.zip");
  EXPECT_EQ(member(mixed, 1).name, "in.exe");
  EXPECT_EQ(member(mixed, 2).name, "b.txt");
  // What is no header ends it, and the first block decides whether there is one.
  std::string file = tar(ARCHIVE_FORMAT_TAR_USTAR, {"one.txt", "two.txt", "three.txt"});
  file[3 * 512]++;
  EXPECT_EQ(names_in(file), std::vector<std::string>{"one.txt"});
  file[0]++;
  EXPECT_TRUE(names_in(file).empty());
  // Records of pax that lie about their length, or end in its middle.
  file = tar(ARCHIVE_FORMAT_TAR_PAX_INTERCHANGE, {beyond});
  for (const std::string_view records : {"9999 path=x.exe"sv, "512"sv, "0 path=x.exe"sv, "-1 "sv}) {
    std::string lying = file;
    lying.replace(512, 512, std::string(512 - records.size(), '\0').insert(0, records));
    EXPECT_EQ(names_in(lying).size(), 1u) << records;
  }
  // A size near 2^64, in GNU's binary form, of a header that is right otherwise.
  file = tar(ARCHIVE_FORMAT_TAR_USTAR, {"one.txt"});
  const auto set = [&file](std::size_t at, std::string_view octets) {
    file.replace(at, octets.size(), octets);
  };
  set(124, "\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"sv);
  set(148, "        ");
  unsigned sum = 0;
  for (std::size_t i = 0; i < 512; ++i) sum += static_cast<unsigned char>(file[i]);
  char octal[8];
  std::snprintf(octal, sizeof octal, "%06o", sum);
  set(148, octal);
  EXPECT_TRUE(names_in(file).empty());
}

// The octets are such that libarchive reads them.
TEST(MimeArchives, NamesInRar) {
  const auto octets = [](std::string_view hex) {
    std::string out;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
      out.push_back(static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
    return out;
  };
  const std::vector<std::string> evil{"evil.exe"};
  const std::string four = octets(
      "526172211a0700cf907300000d00000000000000aa4d740080280005000000050000000386a61036000021001d30"
      "0800a48100006576696c2e65786568656c6c6fc43d7b00400700");
  EXPECT_EQ(names_in(four), evil);
  const std::string five = octets(
      "526172211a070100c51a3332030100005f79e734170202050405a4830286a61036000108"
      "6576696c2e65786568656c6c6f19b23a3503050000");
  EXPECT_EQ(names_in(five), evil);
  // Two of them; headers that are encrypted; a size of nothing.
  const std::string file5 = five.substr(16, 33);
  EXPECT_EQ(names_in(five.substr(0, 16) + file5 + file5).size(), 2u);
  std::string hidden = four;
  hidden[10] = '\x80';
  EXPECT_TRUE(names_in(hidden).empty());
  for (std::size_t at = 8; at < four.size(); ++at) {
    for (const char octet : {'\0', '\xff'}) {
      std::string broken = four;
      broken[at] = octet;
      names_in(broken);
      if (at >= five.size()) continue;
      broken = five;
      broken[at] = octet;
      names_in(broken);
    }
  }
}

TEST(MimeArchives, NamesInTnef) {
  const auto attribute = [](int level, std::uint32_t id, const std::string& data) {
    std::string out(1, static_cast<char>(level));
    put(out, id, 4);
    put(out, data.size(), 4);
    return out + data + "\1\2";
  };
  const std::string head = "\x78\x9f\x3e\x22\1\2" + attribute(1, 0x00089006, "1234");
  const auto titled = [&](const std::string& name) {
    return attribute(2, 0x00069002, std::string(14, '\0')) + attribute(2, 0x00018010, name + '\0') +
           attribute(2, 0x0006800f, "content");
  };
  EXPECT_EQ(names_in(head + titled("a.txt") + titled("evil.exe")),
            (std::vector<std::string>{"a.txt", "evil.exe"}));
  EXPECT_EQ(names_in(head + titled("") + attribute(3, 0x00018010, "b.exe") + titled("c.exe")),
            std::vector<std::string>{});
  EXPECT_EQ(names_in(head + titled(std::string(5000, 'n')) + titled("evil.exe")).at(1), "evil.exe");
}

TEST(MimeArchives, AWrongCheckValueHidesNothing) {
  std::string first = gzip("first ");
  first[first.size() - 8] ^= 1;
  const Recorder r = run(first + gzip("SIGNATURE"));
  ASSERT_EQ(r.parts.size(), 3u);
  EXPECT_EQ(member(r, 0).other + member(r, 1).other, "first SIGNATURE");
}

TEST(MimeArchives, B19_NestedZipsToADepth) {
  std::string file = "the SIGNATURE";
  for (int i = 0; i < 6; ++i) {
    file = zip({{"n" + std::to_string(i), file}});
    const Recorder r = run(file);
    EXPECT_EQ(r.has(Anomaly::limit), i >= 3) << i;
    EXPECT_EQ(r.sees("the SIGNATURE"),
              i < 3 || r.parts.at(0).decoded.find("the SIGNATURE") != std::string::npos)
        << i;
  }
}

TEST(MimeArchives, B19_ExpansionStopsAtItsBudget) {
  std::vector<Entry> entries;
  const std::string zeros(10 << 20, '\0');
  const std::string one = gzip(zeros);
  std::string many;
  for (int i = 0; i < 100; ++i) many += one;
  Limits limits = test::all_wanted();
  const Recorder r = run(many, limits, false);
  EXPECT_TRUE(r.has(Anomaly::limit));
  std::size_t inflated = 0;
  for (const auto& [n, p] : r.parts) inflated += p.other.size();
  EXPECT_EQ(inflated, limits.archive_free + limits.archive_ratio * 1024u -
                          limits.archive_member);  // in the first block
  limits.archive_free = 200 << 20;
  inflated = 0;
  for (const auto& [n, p] : run(many, limits, false).parts) inflated += p.other.size();
  EXPECT_GE(inflated, limits.archive_octets - 100 * limits.archive_member);
  EXPECT_LT(inflated, limits.archive_octets);
  limits.archive_octets = 100'001 + limits.archive_member;
  const Recorder small = run(one, limits);
  EXPECT_EQ(member(small, 0).octets, 100'001u);
  EXPECT_TRUE(small.has(Anomaly::limit));
}

TEST(MimeArchives, B19_ExpansionIsBoundByWhatWasSent) {
  // What shrinks to a half is seen whole, however much there is.
  std::minstd_rand random(5);
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += "abcdefghijklmnop"[random() % 16];
  Limits limits = test::all_wanted();
  limits.archive_free = 0;
  const Recorder usual = run(gzip(text + "SIGNATURE"), limits);
  EXPECT_TRUE(usual.sees("SIGNATURE"));
  EXPECT_FALSE(usual.has(Anomaly::limit));
  // Zeros shrink to a thousandth: the archive is left where they pass what its octets allow, and
  // those of the archive before it count.
  const std::string bomb = gzip(std::string(1 << 20, '\0'));
  const Recorder alone = run(bomb, limits);
  EXPECT_TRUE(alone.has(Anomaly::limit));
  EXPECT_EQ(member(alone, 0).octets, 1024u * limits.archive_ratio - limits.archive_member);
  const Recorder behind = run(gzip(text) + bomb, limits, false);
  EXPECT_GT(member(behind, 1).octets, 1024u * limits.archive_ratio);
}

TEST(MimeArchives, B19_BombHidesNothingBehindIt) {
  const std::string bomb(1 << 20, '\0');
  const Recorder r = run(zip({{"bomb", bomb}, {"second.txt", "the SIGNATURE"}}));
  EXPECT_TRUE(r.has(Anomaly::limit));
  EXPECT_EQ(member(r, 1).name, "second.txt");
  EXPECT_TRUE(r.sees("the SIGNATURE"));
  // Stored, and where the header lies about the size.
  EXPECT_TRUE(run(zip({{"bomb", bomb, true}, {"second.txt", "the SIGNATURE"}})).sees("SIGNATURE"));
  std::string lies = zip({{"bomb", bomb}, {"second.txt", "the SIGNATURE"}});
  lies[18] = 1;
  lies[19] = lies[20] = lies[21] = 0;
  EXPECT_TRUE(run(lies).has(Anomaly::limit));
  EXPECT_TRUE(run(lies).sees("the SIGNATURE"));
  lies[21] = 0x7f;  // beyond the file: nobody looks there but we
  EXPECT_TRUE(run(lies).sees("the SIGNATURE"));
  // As it is written where it cannot be sought in.
  EXPECT_TRUE(run(zip({{"bomb", bomb, false, true}, {"second.txt", "the SIGNATURE"}}))
                  .sees("the SIGNATURE"));
}

// Programs that open archives go by the directory.
TEST(MimeArchives, B19_LocalHeadersThatLie) {
  const std::string good = zip({{"one.txt", "the first"}, {"two.txt", "the SIGNATURE"}});
  std::string encrypted = good;
  encrypted[6] = 1;
  EXPECT_TRUE(run(encrypted).sees("the first"));
  EXPECT_TRUE(run(encrypted).sees("the SIGNATURE"));
  std::string stored = good;
  stored[8] = 0;
  EXPECT_TRUE(run(stored).sees("the first"));
  std::string unknown = good;
  unknown[8] = 99;
  unknown[21] = 0x7f;  // and a size beyond the file
  EXPECT_TRUE(run(unknown).sees("the SIGNATURE"));
}

// A signature that stands in what is passed over is found, or not, at every cut alike.
TEST(MimeArchives, B19_TheBoundIsReachedAtOneOctet) {
  std::string filler(200'000, '\0');
  std::minstd_rand random(7);
  for (char& c : filler) c = static_cast<char>(random() >> 8);
  const std::string inner = zip({{"in.txt", "inside"}});
  for (const std::size_t at : {131'072u - 40, 131'072u - 4, 131'072u, 131'072u + 40}) {
    std::string content(150'000, '\0');
    content += filler.substr(0, 3000);
    for (int i = 0; i < 60; ++i) content += inner;
    run(zip({{"bomb", std::string(at, 'x') + content, false, true}, {"second.txt", "second"}}));
  }
}

TEST(MimeArchives, B19_OverlappingEntriesAreAnEvent) {
  const Entry kernel{"k", std::string(5'000, 'a') + "SIGNATURE", false, false, 200};
  const Recorder r = run(zip({kernel}));
  EXPECT_TRUE(r.sees("SIGNATURE"));
  EXPECT_EQ(r.parts.size(), 2u);  // its octets are looked at once
  EXPECT_TRUE(r.has(Anomaly::limit));
}

TEST(MimeArchives, B19_QuineStopsAtTheDepth) {
  // A gzip file in itself is, to a reader, an endless nesting: eight levels stand for it.
  std::string file = gzip("core");
  for (int i = 0; i < 8; ++i) file = gzip(file);
  const Recorder r = run(file);
  EXPECT_TRUE(r.has(Anomaly::limit));
  EXPECT_LE(r.parts.size(), 5u);
}

TEST(MimeArchives, B19_BrokenArchivesAreOnlyFiles) {
  const std::string good = zip({{"one.txt", "SIGNATURE"}});
  for (std::size_t size = 0; size < good.size(); ++size) run(good.substr(0, size));
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x55);
    run(bad);
  }
  run("PK");
  run("PKPKPKPK\3\4");
  run("\x1f\x8b");
  run(gzip("x").substr(0, 9));
}

// What opens a zip file looks from its end.
TEST(MimeArchives, B19_ZipBehindOtherOctets) {
  const std::string file = zip({{"a.txt", "first member"}, {"b.txt", "second member"}});
  std::string almost;
  for (int i = 0; i < 50; ++i) almost += "PPKPK\3PK\3";
  for (const std::string& front :
       {std::string(1, '\0'), std::string("P"), std::string("PK"), std::string("PK\3"),
        std::string("junkjunk"), std::string("\x1f"), std::string("\x1fPK"), "MZ" + almost,
        std::string(100'000, 'x')}) {
    const Recorder r = run(front + file);
    EXPECT_EQ(r.parts.size(), 3u) << front.substr(0, 9);
    EXPECT_TRUE(r.sees("first member")) << front.substr(0, 9);
    EXPECT_TRUE(r.sees("second member")) << front.substr(0, 9);
    EXPECT_EQ(r.parts.at(0).detected.empty(), false) << front.substr(0, 9);
    // A member of another archive, too.
    EXPECT_TRUE(run(gzip(front + file)).sees("second member")) << front.substr(0, 9);
  }
  // Wherever it stands in what is looked at together.
  for (std::size_t size = 1; size < 160; ++size)
    EXPECT_TRUE(run(std::string(size, 'P') + file).sees("second member")) << size;
  EXPECT_EQ(run("junk" + file).parts.at(0).detected, "application/zip");
  // Text that is shown is no archive.
  Recorder shown;
  test::parse(shown, "Content-Type: text/plain\r\n\r\nx" + file, 0, test::all_wanted());
  EXPECT_FALSE(shown.sees("second member"));
}

TEST(MimeArchives, OffMeansOff) {
  Limits limits = test::all_wanted();
  limits.archive_depth = 0;
  EXPECT_EQ(run(zip({{"one.txt", "SIGNATURE"}}), limits).parts.size(), 1u);
}

}  // namespace
}  // namespace sluice::mime
