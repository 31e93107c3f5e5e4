#include <gtest/gtest.h>

#include <algorithm>
#include <memory_resource>
#include <random>

#include "dataplane/net/defragmenter.h"
#include "tests/unit/net/expect.h"
#include "tests/unit/support/packet_factory.h"

namespace sluice::net {
namespace {

using test::Frame;
using test::Path;
using test::path_v6;
using Result = Defragmenter::Result;

constexpr Direction kUp = Direction::to_server;

class DefragmenterTest : public ::testing::Test {
 protected:
  explicit DefragmenterTest(Defragmenter::Limits limits = {}) : defragmenter(limits, &memory) {}
  ~DefragmenterTest() override = default;

  Result add(const Frame& frame) {
    const Packet packet = parse(frame, {});
    EXPECT_EQ(packet.kind, PacketKind::fragment);
    last = packet;
    return defragmenter.add(frame, packet, now);
  }

  // The TCP payload of the rebuilt datagram, "(bad)" before it when its checksum is wrong; "-" when
  // there is no datagram.
  std::string text_of(Bytes datagram) {
    if (datagram.empty()) return "-";
    const Packet p = parse_datagram(datagram, last, {});
    if (p.kind != PacketKind::tcp) return "not tcp";
    return (p.checksum_bad ? "(bad)" : "") + std::string(payload_text(datagram, p));
  }
  std::string add_text(const Frame& frame) { return text_of(add(frame).datagram); }

  std::vector<Frame> cut(const Path& path, std::string_view payload, std::size_t size,
                         std::uint32_t id) {
    const Frame tcp = test::tcp_octets(path, kUp, {.sequence = 7, .payload = as_bytes(payload)});
    return test::fragment_frames(path, kUp, 6, tcp, size, id);
  }

  std::pmr::unsynchronized_pool_resource memory;
  Defragmenter defragmenter;
  Packet last;
  Nanoseconds now = 5 * kSecond;
};

std::string letters(std::size_t size, std::uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::string text(size, ' ');
  for (char& c : text) c = static_cast<char>('a' + random() % 26);
  return text;
}

// In order, reversed and shuffled; 8-octet pieces and larger; each piece once and twice.
TEST_F(DefragmenterTest, C22_AnyOrderAnySizeWithDuplicates) {
  const std::string payload = letters(1459);
  std::uint32_t id = 1;
  for (const Path& path : {Path{}, path_v6()}) {
    for (const std::size_t size : {8u, 16u, 104u, 1000u, 1472u}) {
      for (const int order : {0, 1, 2}) {
        for (const int copies : {1, 2}) {
          std::vector<Frame> frames = cut(path, payload, size, ++id);
          if (order == 1) std::reverse(frames.begin(), frames.end());
          if (order == 2) std::shuffle(frames.begin(), frames.end(), std::mt19937(id));
          for (std::size_t i = 0; i < frames.size(); ++i) {
            for (int copy = 0; copy < copies; ++copy) {
              const Result r = add(frames[i]);
              EXPECT_EQ(r.anomaly_count, 0) << anomaly_names(r);
              const bool complete = i + 1 == frames.size() && copy == 0;
              ASSERT_EQ(text_of(r.datagram), complete ? payload : "-");
            }
          }
          if (copies == 1) {
            EXPECT_EQ(defragmenter.datagrams(), 0u);
            EXPECT_EQ(defragmenter.octets(), 0u);
          }
          defragmenter.expire(now + 100 * kSecond);
        }
      }
    }
  }
}

TEST_F(DefragmenterTest, TheRebuiltHeaderIsThatOfTheFirstFragmentWithoutFragmentation) {
  for (Path path : {Path{}, path_v6()}) {
    path.ttl = 33;
    path.encapsulation.tags = {{4}, {5}};
    path.encapsulation.pppoe = 99;
    const auto frames = cut(path, "the text", 16, 77);
    add(frames[1]);
    const Result r = add(frames[0]);
    ASSERT_FALSE(r.datagram.empty());
    const Packet p = parse_datagram(r.datagram, last, {});
    EXPECT_EQ(p.kind, PacketKind::tcp);
    EXPECT_EQ(p.anomaly_count, 0) << anomaly_names(p);
    EXPECT_EQ(p.network_offset, 0);
    EXPECT_EQ(p.vlan_count, 2);
    EXPECT_EQ(p.vlan[1], 5);
    EXPECT_TRUE(p.pppoe);
    EXPECT_EQ(p.pppoe_session, 99);
    EXPECT_EQ(p.source, path.client.address);
    EXPECT_EQ(r.datagram.size(), (path.is_v4() ? 20u : 40u) + 28u);
    EXPECT_EQ(r.datagram[path.is_v4() ? 8 : 7], 33);
  }
}

TEST_F(DefragmenterTest, C22_Ipv6OverlapDiscardsTheDatagramAndWhatFollows) {
  const Path path = path_v6();
  const Frame tcp = test::tcp_octets(path, kUp, {.payload = as_bytes(letters(1180))});
  ASSERT_EQ(tcp.size(), 1200u);
  const auto piece = [&](std::size_t from, std::size_t to, bool more) {
    return test::fragment_frame(path, kUp, 6, from, Bytes(tcp).subspan(from, to - from), more, 5);
  };
  EXPECT_EQ(add(piece(0, 400, true)).anomaly_count, 0);
  EXPECT_EQ(add(piece(800, 1200, false)).anomaly_count, 0);
  // Agreeing octets or not, it overlaps (RFC 5722).
  Result r = add(piece(400, 928, true));
  EXPECT_EQ(anomaly_names(r), "fragment-overlap");
  EXPECT_TRUE(r.datagram.empty());
  r = add(piece(400, 800, true));
  EXPECT_TRUE(r.datagram.empty());
  r = add(piece(0, 400, true));
  EXPECT_TRUE(r.datagram.empty());
  EXPECT_EQ(defragmenter.datagrams(), 1u);
  // When it has been forgotten, the identification may be used again.
  now += 31 * kSecond;
  add(piece(0, 400, true));
  add(piece(800, 1200, false));
  EXPECT_FALSE(add(piece(400, 800, true)).datagram.empty());
}

TEST_F(DefragmenterTest, Ipv6NextHeaderCountsOfTheFirstFragmentAlone) {
  const Path path = path_v6();
  const Frame tcp = test::tcp_octets(path, kUp, {.payload = as_bytes("hidden text")});
  add(test::fragment_frame(path, kUp, 17, 24, Bytes(tcp).subspan(24), false, 5));
  EXPECT_EQ(add_text(test::fragment_frame(path, kUp, 6, 0, Bytes(tcp).first(24), true, 5)),
            "hidden text");
}

TEST_F(DefragmenterTest, C22_Ipv4OverlapKeepsTheOctetsSeenFirst) {
  const Path path;
  const std::string payload = letters(76);
  const Frame tcp = test::tcp_octets(path, kUp, {.sequence = 7, .payload = as_bytes(payload)});
  ASSERT_EQ(tcp.size(), 96u);
  Frame other(96, 'X');
  const auto piece = [&](const Frame& of, std::size_t from, std::size_t to, bool more) {
    return test::fragment_frame(path, kUp, 6, from, Bytes(of).subspan(from, to - from), more, 9);
  };
  add(piece(tcp, 0, 40, true));
  // The last fragment overlaps: three blocks of other octets, then the genuine rest.
  Frame mixed(other.begin(), other.begin() + 40);
  test::append(mixed, Bytes(tcp).subspan(40));
  const Result r = add(piece(mixed, 16, 96, false));
  EXPECT_EQ(anomaly_names(r), "fragment-overlap");
  EXPECT_EQ(text_of(r.datagram), payload);
}

TEST_F(DefragmenterTest, C22_Ipv4OverlapOfTheSameOctetsIsRebuilt) {
  const Path path;
  const std::string payload = letters(76);
  const Frame tcp = test::tcp_octets(path, kUp, {.payload = as_bytes(payload)});
  const auto piece = [&](std::size_t from, std::size_t to, bool more) {
    return test::fragment_frame(path, kUp, 6, from, Bytes(tcp).subspan(from, to - from), more, 9);
  };
  add(piece(48, 96, false));
  add(piece(0, 24, true));
  const Result r = add(piece(16, 64, true));
  EXPECT_EQ(anomaly_names(r), "fragment-overlap");
  EXPECT_EQ(text_of(r.datagram), payload);
}

// Both readings are packets that a receiver takes: neither may go unseen.
TEST_F(DefragmenterTest, BothReadingsOfAContradictedDatagramComeOut) {
  const Path path;
  const Frame a = test::tcp_octets(path, kUp, {.payload = as_bytes("innocent octets")});
  const Frame b = test::tcp_octets(path, kUp, {.payload = as_bytes("the signature!!")});
  const auto piece = [&](const Frame& of, std::size_t from, std::size_t size, bool more) {
    return test::fragment_frame(path, kUp, 6, from, Bytes(of).subspan(from, size), more, 9);
  };
  // Headers differ in the checksum, so the first pieces contradict each other too.
  EXPECT_EQ(add_text(piece(a, 0, 24, true)), "-");
  EXPECT_EQ(add_text(piece(b, 0, 24, true)), "-");
  EXPECT_EQ(add_text(piece(a, 24, 11, false)), "innocent octets");
  add(piece(b, 0, 24, true));
  EXPECT_EQ(add_text(piece(b, 24, 11, false)), "the signature!!");
}

TEST_F(DefragmenterTest, C22_IdentificationUsedAgainWhileTheOldDatagramIsIncomplete) {
  const Path path;
  const std::string second = letters(200, 3);
  for (std::size_t missing = 0; missing < 7; ++missing) {
    for (const int order : {0, 1}) {
      std::vector<Frame> old = cut(path, letters(200, 2), 32, 1000);
      ASSERT_EQ(old.size(), 7u);
      old.erase(old.begin() + static_cast<std::ptrdiff_t>(missing));
      for (const Frame& f : old) EXPECT_EQ(add_text(f), "-");
      std::vector<Frame> fresh = cut(path, second, 32, 1000);
      if (order == 1) std::reverse(fresh.begin(), fresh.end());
      std::string found;
      for (const Frame& f : fresh) {
        const Result r = add(f);
        for (const Bytes datagram : {r.datagram, r.alternative}) {
          const std::string text = text_of(datagram);
          if (text == second) found = text;
        }
      }
      // Where the newcomer's first piece completes the old datagram, nobody can know: the receiver
      // has a mixture with a wrong checksum, and so have we.
      const bool mixture = missing == (order == 0 ? 0u : 6u);
      if (!mixture) {
        EXPECT_EQ(found, second) << "missing " << missing << ", order " << order;
      }
      now += 60 * kSecond;
      defragmenter.expire(now);
    }
  }
}

TEST_F(DefragmenterTest, APieceThatMixedIntoAnOldDatagramStillCompletesItsOwn) {
  const Path path;
  std::vector<Frame> old = cut(path, letters(60, 2), 40, 1000);
  std::vector<Frame> fresh = cut(path, letters(60, 3), 40, 1000);
  ASSERT_EQ(old.size(), 2u);
  EXPECT_EQ(add_text(old[1]), "-");
  EXPECT_EQ(add_text(fresh[0]).substr(0, 5), "(bad)");
  EXPECT_EQ(add_text(fresh[1]), letters(60, 3));
}

// Put together under each set of tags, and without regard to them, as hosts with several do.
TEST_F(DefragmenterTest, C22_TagsOnOnlySomeFragments) {
  const std::string text = letters(300);
  for (const Path& plain : {Path{}, path_v6()}) {
    Path tagged = plain;
    tagged.encapsulation.tags = {{5}};
    Path other = plain;
    other.encapsulation.tags = {{6}, {7}};
    for (const int order : {0, 1, 2}) {
      std::vector<Frame> frames = cut(tagged, text, 24, 4);
      const auto without = cut(plain, text, 24, 4);
      const auto third = cut(other, text, 24, 4);
      for (std::size_t i = 0; i < frames.size(); ++i)
        if (i % 3 != 0) frames[i] = i % 3 == 1 ? without[i] : third[i];
      if (order == 1) std::reverse(frames.begin(), frames.end());
      if (order == 2) std::shuffle(frames.begin(), frames.end(), std::mt19937(3));
      for (std::size_t i = 0; i < frames.size(); ++i)
        ASSERT_EQ(add_text(frames[i]), i + 1 == frames.size() ? text : "-");
      now += 100 * kSecond;
      EXPECT_EQ(anomaly_names(add(frames[0])), "");
      now += 100 * kSecond;
      defragmenter.expire(now);
      EXPECT_EQ(defragmenter.octets(), 0u);
    }
  }
}

// Two networks with the same addresses: each has its own, whatever the order.
TEST_F(DefragmenterTest, TheSameIdentificationUnderOtherTags) {
  Path tagged;
  tagged.encapsulation.tags = {{5}};
  const std::string one = letters(40, 1);
  const std::string two = letters(40, 2);
  for (const int order : {0, 1, 2, 3}) {
    const auto with = cut(tagged, one, 24, 4);
    const auto without = cut(Path{}, two, 24, 4);
    const std::vector<std::vector<Frame>> orders = {
        {with[0], without[0], with[1], without[1], with[2], without[2]},
        {with[0], without[1], without[0], with[1], with[2], without[2]},
        {with[2], without[1], without[2], with[0], without[0], with[1]},
        {with[0], without[2], with[1], with[2], without[0], without[1]}};
    std::vector<std::string> got;
    for (const Frame& f : orders[static_cast<std::size_t>(order)])
      if (const std::string text = add_text(f); text != "-") got.push_back(text);
    std::sort(got.begin(), got.end());
    EXPECT_EQ(got, (std::vector<std::string>{std::min(one, two), std::max(one, two)})) << order;
    defragmenter.expire(now += 100 * kSecond);
  }
}

TEST_F(DefragmenterTest, KeysAreAddressesIdentificationAndSession) {
  Path path;
  const auto frames = cut(path, "some text here", 24, 4);
  add(frames[0]);
  EXPECT_EQ(add_text(cut(path, "some text here", 24, 5)[1]), "-");
  Path elsewhere = path;
  elsewhere.client.address = test::v4(192, 0, 2, 11);
  EXPECT_EQ(add_text(cut(elsewhere, "some text here", 24, 4)[1]), "-");
  Path session = path;
  session.encapsulation.pppoe = 3;
  EXPECT_EQ(add_text(cut(session, "some text here", 24, 4)[1]), "-");
  EXPECT_EQ(add_text(frames[1]), "some text here");
}

TEST_F(DefragmenterTest, TimesOutFromTheFirstFragment) {
  const auto frames = cut(Path{}, letters(60), 32, 4);
  ASSERT_EQ(frames.size(), 3u);
  add(frames[0]);
  now += 20 * kSecond;
  add(frames[1]);
  now += 10 * kSecond;
  const Result r = add(frames[2]);
  EXPECT_TRUE(r.datagram.empty());
  EXPECT_EQ(anomaly_names(r), "fragment-timeout");
  EXPECT_EQ(defragmenter.datagrams(), 1u);
  EXPECT_EQ(defragmenter.expire(now + 29 * kSecond), 0u);
  EXPECT_EQ(defragmenter.expire(now + 30 * kSecond), 1u);
  EXPECT_EQ(defragmenter.octets(), 0u);
}

TEST_F(DefragmenterTest, AClockThatGoesBackForgetsNothing) {
  const auto frames = cut(Path{}, "some text here", 24, 4);
  add(frames[0]);
  now -= kSecond;
  EXPECT_EQ(add_text(frames[1]), "some text here");
}

TEST_F(DefragmenterTest, FragmentsThatNoReceiverTakesAreIgnored) {
  const auto frames = cut(Path{}, "some text here", 24, 4);
  Frame bad = frames[0];
  bad[14 + 8] ^= 1;  // IPv4 header checksum
  EXPECT_EQ(add_text(bad), "-");
  EXPECT_EQ(defragmenter.datagrams(), 0u);
  // Length no multiple of eight with more to come.
  const Frame odd(20, 1);
  add(test::fragment_frame(path_v6(), kUp, 6, 0, odd, true, 4));
  EXPECT_EQ(defragmenter.datagrams(), 0u);
  // IPv4 receivers take what fills whole units.
  const Path path;
  const Frame tcp = test::tcp_octets(path, kUp, {.payload = as_bytes("some text here")});
  add(test::fragment_frame(path, kUp, 6, 0, Bytes(tcp).first(27), true, 4));
  EXPECT_EQ(add_text(frames[1]), "some text here");
  // None at all.
  add(test::fragment_frame(path, kUp, 6, 0, {}, true, 4));
  EXPECT_EQ(defragmenter.datagrams(), 0u);
}

TEST_F(DefragmenterTest, ALastFragmentThatContradictsTheEndIsNotUsed) {
  const Path path;
  const std::string payload = letters(60);
  const auto frames = cut(path, payload, 40, 4);
  add(frames[1]);
  // Teardrop: a last fragment inside what is there, and one beyond the end that is known.
  Result r = add(test::fragment_frame(path, kUp, 6, 24, Frame(4, 'X'), false, 4));
  EXPECT_EQ(anomaly_names(r), "fragment-overlap");
  r = add(test::fragment_frame(path, kUp, 6, 200, Frame(16, 'X'), true, 4));
  EXPECT_EQ(anomaly_names(r), "fragment-overlap");
  EXPECT_EQ(add_text(frames[0]), payload);
}

TEST_F(DefragmenterTest, ADatagramBeyondTheLargestIsNeverBuilt) {
  const Path path;
  Result r = add(test::fragment_frame(path, kUp, 6, 65'528, Frame(8, 'X'), false, 4));
  EXPECT_EQ(anomaly_names(r), "fragment-limit");
  // 65,535 octets of payload fit, with the header they do not.
  std::string text;
  for (const auto& f : test::fragment_frames(path, kUp, 6, Frame(65'532, 'x'), 8000, 4))
    text += anomaly_names(add(f));
  EXPECT_EQ(text, "fragment-limit");
  EXPECT_EQ(defragmenter.datagrams(), 0u);
  // IPv6 counts the payload alone.
  Bytes whole;
  for (const auto& f : test::fragment_frames(path_v6(), kUp, 6, Frame(65'535, 'x'), 8000, 4))
    whole = add(f).datagram;
  EXPECT_EQ(whole.size(), 65'575u);
}

class SmallDefragmenterTest : public DefragmenterTest {
 protected:
  SmallDefragmenterTest() : DefragmenterTest({.datagrams = 8, .octets = 64 * 1024}) {}
};

TEST_F(SmallDefragmenterTest, C22_TheTableIsBoundedAndTheOldestGivesWay) {
  const auto first = cut(Path{}, "the first of them", 24, 0xaaaa);
  add(first[0]);
  std::size_t limits = 0;
  for (std::uint32_t id = 0; id < 2000; ++id) {
    const Result r =
        add(test::fragment_frame(Path{}, kUp, 6, 8 * (id * 37 % 8000), Frame(8, 'x'), true, id));
    limits += anomaly_names(r) == "fragment-limit" ? 1u : 0u;
    EXPECT_LE(defragmenter.datagrams(), 8u);
    EXPECT_LE(defragmenter.octets(), 64u * 1024);
  }
  EXPECT_EQ(limits, 2000u - 7);
  EXPECT_EQ(add_text(first[1]), "-");
  const auto next = cut(Path{}, "but new ones are rebuilt", 24, 0xbbbb);
  add(next[0]);
  EXPECT_EQ(add_text(next[1]), "but new ones are rebuilt");
}

TEST_F(SmallDefragmenterTest, OneDatagramLargerThanTheBoundIsGivenUp) {
  std::string text;
  for (const auto& f : test::fragment_frames(path_v6(), kUp, 6, Frame(65'535, 'x'), 8000, 4))
    text += anomaly_names(add(f));
  EXPECT_EQ(text, "fragment-limit");
  EXPECT_LE(defragmenter.octets(), 64u * 1024);
}

// A memory resource that ends: nothing is thrown at the caller, and it goes on afterwards.
TEST(DefragmenterMemory, AnEndOfMemoryIsALimitLikeAnyOther) {
  std::array<std::byte, 24 * 1024> buffer;
  std::pmr::monotonic_buffer_resource memory(buffer.data(), buffer.size(),
                                             std::pmr::null_memory_resource());
  Defragmenter defragmenter({}, &memory);
  bool limited = false;
  for (std::uint32_t id = 0; id < 40; ++id) {
    const Frame f = test::fragment_frame(Path{}, kUp, 6, 0, Frame(8, 'x'), true, id);
    const Result r = defragmenter.add(f, parse(f, {}), kSecond);
    limited = limited || anomaly_names(r) == "fragment-limit";
  }
  EXPECT_TRUE(limited);
}

// Random fragments of few identifications: whatever comes, the account of memory returns to zero
// and every datagram that is said to be whole has a length that its header tells.
TEST_F(SmallDefragmenterTest, RandomFragments) {
  std::mt19937 random(11);
  for (int i = 0; i < 20'000; ++i) {
    Path path = random() % 2 == 0 ? Path{} : path_v6();
    if (random() % 3 == 0) path.encapsulation.tags = {{5}};
    const std::size_t offset = random() % 12 * 8;
    const std::size_t size = random() % 40;
    const Frame f = test::fragment_frame(
        path, kUp, 6, offset, Frame(size, static_cast<std::uint8_t>(random() % 2)),
        random() % 3 != 0, static_cast<std::uint32_t>(random() % 6));
    const Packet p = parse(f, {});
    if (p.kind != PacketKind::fragment) continue;
    last = p;
    const Result r = defragmenter.add(f, p, now);
    if (!r.datagram.empty()) {
      EXPECT_EQ(p.source.is_v4() ? load_be16(&r.datagram[2]) : 40u + load_be16(&r.datagram[4]),
                r.datagram.size());
    }
    now += kSecond / 4;
  }
  defragmenter.expire(now + 100 * kSecond);
  EXPECT_EQ(defragmenter.datagrams(), 0u);
  EXPECT_EQ(defragmenter.octets(), 0u);
}

}  // namespace
}  // namespace sluice::net
