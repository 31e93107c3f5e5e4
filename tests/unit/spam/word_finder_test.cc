// Words are found where they stand and nowhere else (scan/word_finder.h): beside a search at each
// place, for words and texts of a small alphabet, so that all meets all.
#include "dataplane/scan/word_finder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "control/policy/word_anchors.h"

namespace sluice::test {
namespace {

using scan::WordFinder;

struct Word {
  std::string octets;
  std::uint8_t flags;
};
using Found = std::tuple<std::size_t, std::size_t, std::size_t>;  // item, word, end

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return text;
}

std::vector<Found> naive(const std::vector<Word>& words, const std::vector<std::string>& items) {
  std::vector<Found> all;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::string& item = items[i];
    for (std::size_t w = 0; w < words.size(); ++w) {
      const auto& [octets, flags] = words[w];
      const std::string text = (flags & WordFinder::kCaseless) != 0 ? lower(item) : item;
      for (std::size_t at = 0; (at = text.find(octets, at)) != std::string::npos; ++at) {
        const std::size_t end = at + octets.size();
        if ((flags & WordFinder::kBeginsWord) != 0 && at > 0 && is_word(item[at - 1])) continue;
        if ((flags & WordFinder::kEndsWord) != 0 && end < item.size() && is_word(item[end]))
          continue;
        all.emplace_back(i, w, begin + end);
      }
    }
    begin += item.size() + 1;
  }
  std::ranges::sort(all);
  return all;
}

std::vector<Found> by_finder(const WordFinder& finder, const std::vector<std::string>& items,
                             bool vectors) {
  std::string row;
  for (const std::string& item : items) row += item + '\n';
  WordFinder::Work work;
  finder.find(row, work, vectors);
  std::vector<Found> all;
  for (std::size_t i = 0; i < WordFinder::kKinds; ++i) {
    EXPECT_TRUE(std::ranges::is_sorted(work.hits(i), {}, &WordFinder::Hit::at));
    std::size_t begin = 0;
    for (std::size_t item = 0; item < items.size(); begin += items[item++].size() + 1) {
      for (const WordFinder::Hit& hit : work.hits(i)) {
        // Across items a word may stand in the row too.
        if (hit.begin >= begin && hit.end <= begin + items[item].size())
          all.emplace_back(item, hit.word, hit.end);
      }
    }
  }
  std::ranges::sort(all);
  return all;
}

TEST(WordFinder, FindsWhatANaiveSearchFinds) {
  std::mt19937 random(7);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  constexpr std::string_view kOctets = "aAbB_ .9\xe4\xc4\n[{@`";
  const auto text = [&](std::size_t size) {
    std::string made;
    while (made.size() < size) made += kOctets[below(kOctets.size())];
    return made;
  };
  for (int round = 0; round < 300; ++round) {
    std::vector<Word> words;
    WordFinder finder;
    for (std::size_t n = below(40) + 1; n > 0; --n) {
      Word word{text(1 + below(below(8) == 0 ? 40 : 7)), static_cast<std::uint8_t>(below(8))};
      if ((word.flags & WordFinder::kCaseless) != 0) word.octets = lower(word.octets);
      if (!is_word(word.octets.front())) word.flags &= static_cast<std::uint8_t>(~2u);
      if (!is_word(word.octets.back())) word.flags &= static_cast<std::uint8_t>(~4u);
      const std::size_t anchors =
          word.octets.size() - std::min(word.octets.size(), WordFinder::kAnchor) + 1;
      ASSERT_TRUE(finder.add(word.octets, word.flags, below(anchors)));
      words.push_back(word);
    }
    finder.build();
    std::vector<std::string> items;
    for (std::size_t n = below(6); n > 0; --n) {
      items.push_back(text(below(60)));
      // Long words are there only by intent.
      items.back() += words[below(words.size())].octets;
      items.back() += text(below(3));
    }
    const auto expected = naive(words, items);
    EXPECT_EQ(by_finder(finder, items, true), expected) << "round " << round;
    EXPECT_EQ(by_finder(finder, items, false), expected) << "round " << round;
  }
}

TEST(WordAnchors, AreRareAndSharedWhereThatAddsNothing) {
  // The third has no choice; the others take what it made.
  const std::vector<std::uint16_t> at =
      control::word_anchors({"information zqx", "better zqx", "zqx", "ab", ""});
  EXPECT_EQ(at, (std::vector<std::uint16_t>{12, 7, 0, 0, 0}));
}

TEST(WordFinder, RefusesWordsThatAreNone) {
  WordFinder finder;
  EXPECT_FALSE(finder.add("", 0, 0));
  EXPECT_FALSE(finder.add("abcde", 0, 3));  // its anchor would end behind it
  EXPECT_FALSE(finder.add("ab", 0, 1));
  EXPECT_FALSE(finder.add(std::string(65536, 'a'), 0, 0));
  EXPECT_TRUE(finder.add("abcde", 0, 2));
  EXPECT_TRUE(finder.add("ab", 0, 0));
  EXPECT_EQ(finder.size(), 2u);
}

}  // namespace
}  // namespace sluice::test
