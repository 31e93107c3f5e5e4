// The literals of a stream, against looking at every octet; with vectors and without.
#include "dataplane/scan/literals.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <string_view>

namespace sluice::test {
namespace {

using scan::LiteralSet;

struct Wanted {
  std::string octets;
  bool nocase = false;
};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

bool occurs(const Wanted& wanted, std::string_view text, std::size_t known) {
  for (std::size_t at = 0; at + wanted.octets.size() <= text.size(); ++at) {
    if (at + wanted.octets.size() <= known) continue;
    if (std::equal(wanted.octets.begin(), wanted.octets.end(),
                   text.begin() + static_cast<std::ptrdiff_t>(at),
                   [&](char a, char b) { return wanted.nocase ? lower(a) == lower(b) : a == b; }))
      return true;
  }
  return false;
}

LiteralSet set_of(const std::vector<Wanted>& wanted) {
  std::vector<LiteralSet::Literal> literals;
  for (std::uint32_t i = 0; i < wanted.size(); ++i)
    literals.push_back({i, as_bytes(wanted[i].octets), wanted[i].nocase});
  return LiteralSet(literals);
}

std::set<std::uint32_t> found(const LiteralSet& set, std::string_view text, std::size_t known = 0) {
  std::set<std::uint32_t> hits;
  // What stands behind is no part of it, and goes on with it.
  std::string all(text);
  while (all.size() < text.size() + LiteralSet::kBehind)
    all += text.empty() ? '-' : text[all.size() % text.size()];
  all.shrink_to_fit();
  set.scan(
      as_bytes(all).first(text.size()), known,
      [](void* context, std::uint32_t pattern, std::size_t) {
        static_cast<std::set<std::uint32_t>*>(context)->insert(pattern);
      },
      &hits);
  return hits;
}

// How many places are looked at in one step.
class Literals : public testing::TestWithParam<int> {
 protected:
  LiteralSet make(const std::vector<Wanted>& wanted) const {
    LiteralSet set = set_of(wanted);
    set.use_vectors(GetParam() >= 8);
    set.use_wide(GetParam() >= 64);
    return set;
  }
};
INSTANTIATE_TEST_SUITE_P(, Literals, testing::Values(1, 8, 64));

TEST_P(Literals, OfEveryLengthAtEveryPlace) {
  for (std::size_t size = LiteralSet::kShortest; size <= LiteralSet::kLongest; ++size) {
    std::string octets;
    for (std::size_t i = 0; i < size; ++i) octets += static_cast<char>('a' + i * 7 % 26);
    const LiteralSet set = make({{octets}});
    EXPECT_EQ(set.longest(), size);
    for (std::size_t before = 0; before < 80; ++before) {
      for (const std::size_t after : {0u, 1u, 3u, 7u, 70u}) {
        const std::string text = std::string(before, '-') + octets + std::string(after, '-');
        ASSERT_EQ(found(set, text).size(), 1u) << size << " at " << before << ", then " << after;
        ASSERT_EQ(found(set, std::string_view(text).substr(0, before + size - 1)).size(), 0u);
      }
    }
  }
}

TEST_P(Literals, LikeLookingAtEveryOctet) {
  std::mt19937 random(11);
  const auto number = [&](std::size_t most) {
    return std::uniform_int_distribution<std::size_t>(0, most)(random);
  };
  // Few different octets, some of them not text: much is nearly found.
  const std::string alphabet = {'a', 'A', 'b', 'B', ' ', '\0', '@', '`', '\xff', '\xe1'};
  constexpr std::size_t kAscii = 8;
  const auto random_text = [&](std::size_t size, bool ascii = false) {
    std::string text;
    while (text.size() < size) text += alphabet[number((ascii ? kAscii : alphabet.size()) - 1)];
    return text;
  };
  for (int round = 0; round < 60; ++round) {
    std::vector<Wanted> wanted;
    // Brief ones go by another way from 129 of them on.
    const std::size_t beyond = round % 4 == 1 ? 3 : 24;
    for (std::size_t i = number(round % 4 <= 1 ? 160 : 60) + 1; i > 0; --i)
      wanted.push_back(
          {random_text(LiteralSet::kShortest + number(beyond), round % 3 == 0), number(1) == 1});
    const LiteralSet set = make(wanted);
    for (int t = 0; t < 20; ++t) {
      std::string text = random_text(number(t == 0 ? 3000 : 300));
      for (std::size_t i = 0; i < number(4); ++i) {
        text += wanted[number(wanted.size() - 1)].octets;
        text += random_text(number(20));
      }
      const std::size_t known = number(1) == 0 ? 0 : number(text.size());
      std::set<std::uint32_t> expected;
      for (std::uint32_t i = 0; i < wanted.size(); ++i)
        if (occurs(wanted[i], text, known)) expected.insert(i);
      ASSERT_EQ(found(set, text, known), expected) << round << '/' << t;
    }
  }
}

TEST_P(Literals, ManyWithTheSameBeginning) {
  std::vector<Wanted> wanted;
  for (int i = 0; i < 3000; ++i) wanted.push_back({"www.example.com/" + std::to_string(i) + "/"});
  const LiteralSet set = make(wanted);
  EXPECT_EQ(found(set, "see www.example.com/2718/ and www.example.com/31/"),
            (std::set<std::uint32_t>{2718, 31}));
}

TEST_P(Literals, ThatBeginWithAnother) {
  // Found with the briefer one: as long as few do, in its case, and also where it was found before.
  const std::vector<Wanted> wanted = {{"karzi"},
                                      {"karzi erhem", true},
                                      {"KARZI ulzi", true},
                                      {"karzi ver"},
                                      {"karzi"},
                                      {"karz", true},
                                      {"karz"},
                                      {"Karzi"},
                                      {"karzi erhem lo"}};
  EXPECT_EQ(found(make({{"erhem"}, {"erhem lo", true}}), "a ERHEM LO"),
            (std::set<std::uint32_t>{1}));
  for (std::size_t more = 0; more < 100; more += 33) {
    std::vector<Wanted> all = wanted;
    for (std::size_t i = 0; i < more; ++i) all.push_back({"karzi" + std::to_string(i)});
    const LiteralSet set = make(all);
    const std::string_view texts[] = {"a karzi erhem lo", "a Karzi erhem lo", "KARZI ULZI",
                                      "karzi verkarz",    "karzi1 karzi98",   "KARZ"};
    for (const std::string_view text : texts) {
      for (std::size_t size = 0; size <= text.size(); ++size) {
        for (std::size_t known = 0; known <= size; ++known) {
          std::set<std::uint32_t> expected;
          for (std::uint32_t i = 0; i < all.size(); ++i)
            if (occurs(all[i], text.substr(0, size), known)) expected.insert(i);
          ASSERT_EQ(found(set, text.substr(0, size), known), expected)
              << text.substr(0, size) << " behind " << known << " with " << more;
        }
      }
    }
  }
}

TEST_P(Literals, OfTheSameOctetsInManyCases) {
  // More than are gone through to find with which one a literal stands.
  std::vector<Wanted> wanted;
  for (unsigned cases = 0; cases < 64; ++cases) {
    std::string octets = "abcdef";
    for (unsigned i = 0; i < octets.size(); ++i)
      if ((cases >> i & 1) != 0) octets[i] = static_cast<char>(octets[i] - 32);
    wanted.push_back({octets});
    wanted.push_back({octets + "-and more"});
    wanted.push_back({octets + "-AND", true});
  }
  const LiteralSet set = make(wanted);
  for (const Wanted& one : wanted) {
    const std::string text = "a " + one.octets + "-and more";
    std::set<std::uint32_t> expected;
    for (std::uint32_t i = 0; i < wanted.size(); ++i)
      if (occurs(wanted[i], text, 0)) expected.insert(i);
    ASSERT_EQ(found(set, text), expected) << text;
  }
}

// In a table of 64 entries these share one with what is taken to be behind the text's end: no more
// is read there than may be (seen with AVX-512 VBMI, and a sanitizer).
TEST_P(Literals, OfOctetsThatLookLikeTheEnd) {
  for (const std::string& octets :
       {std::string("@@@@"), std::string(4, '\0'), std::string(9, '@')}) {
    const LiteralSet set = make({{octets}});
    for (std::size_t size = 1; size < 140; ++size)
      EXPECT_EQ(found(set, std::string(size, 'x')).size(), 0u) << size;
  }
}

TEST_P(Literals, ThatAreFew) {
  // All of them are looked for at every place; with one more the longer ones are not.
  for (std::size_t count : {1u, 31u, 32u, 33u}) {
    std::vector<Wanted> wanted;
    for (std::size_t i = 0; i < count; ++i)
      wanted.push_back({std::to_string(i) + "-of-few-of-many-octets-and-an-end", i % 2 == 0});
    const LiteralSet set = make(wanted);
    for (std::uint32_t i = 0; i < count; ++i) {
      for (std::size_t before = 0; before < 40; ++before) {
        std::string text = std::string(before, '0') + "a-" + wanted[i].octets;
        std::set<std::uint32_t> expected;
        for (std::uint32_t other = 0; other < count; ++other)
          if (occurs(wanted[other], text, 0)) expected.insert(other);
        ASSERT_EQ(found(set, text), expected) << i << " of " << count << " behind " << before;
        text.pop_back();
        ASSERT_EQ(found(set, text).size(), 0u);
      }
    }
  }
}

}  // namespace
}  // namespace sluice::test
