#include "control/policy/word_anchors.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "dataplane/scan/word_finder.h"

namespace sluice::control {

namespace {

using scan::WordFinder;
constexpr std::size_t kClasses = WordFinder::kOctetClasses;

// How often two classes of octets follow each other in what rules look at (header fields, text and
// URLs of 1,200 messages of the public corpus of SpamAssassin): bits of information of the pair
// from 'a' on, of the first class a row.
constexpr std::array<std::string_view, kClasses> kPairs = {
    "hiijjiikjhkliikjjnjihklikknhnkog", "jlkjjnmklholijinkpihijlmokmkklql",
    "mlnnojonpklqlnnkprlkokoqrjrlmorm", "miolmiopjkpklomhopkmjlpoqnqklmrn",
    "ikmnminnljppolkjoqlkklnnqmqlkjrk", "hjkiikklmjomjkhljlhhimkkjlpljjrj",
    "klonoklppkqqnopipqiolmqoqoqlnntl", "ilnnpjookkqpmlllnqkmmmqmqnpkmlrj",
    "jipoohopqjqpomlinqknjlqpqnqnlkql", "ljkjijkknmpmijgjkokhimjolmlmlnql",
    "qlqpqlqqpoqppkqmoqqqqlrprrqnqsuq", "kmoopkponlqpoomnpqomnoqproqmlmsk",
    "jjonljoojipljlnimrplkknpqkpnjkrk", "ihmnnjnmljqqmmokkpokkmpommqnljrj",
    "ikmjiikinkollnmjnqojhjknolpmikqj", "jmljkmjkmlolkhhkkqhijilknnnmljsl",
    "jjpomjpnlkqpkkpjmrjlllrnpnqmljsl", "qprqrqprrqqqqnrspmrqrkrqrrqoonso",
    "ijnkkhninipjmklikpljklmnrlqnkkqk", "iinjnilnjipmkjmjjomihjolpmpmjkqj",
    "himllilohipokklijrkkjkolpkplijqi", "lljlmkojplqnjljolrjjjqqpkopolpsm",
    "olropilrqkrrqqqmrrqoqqrqrqqnoprn", "lkpoojpokjqppplkpqmloprkrpqnlptm",
    "mmqnqkqqqmrqrlrqnrqqlpqqpqrmkpuk", "ilnnnmopomqqnnnkmrnlmpqnrlqnllrl",
    "nnrqnmrrrnrrmqqnrrqqnrsrrqknnqso", "gllllllnnmnnonnmnnnmnnoooooeghqi",
    "ilmimlmlmknolljjmpmjjnnnmnohlork", "hlmlmlkmmlopklmolnlkllplmqphoipi",
    "oqrqrrsrrqtrrrpsssrqqrqstssqrqkp", "hjkkkkjmjjknjjmljnjjjkllkmlhljog",
};
// Of these three octets one is known by the others, so they are more frequent than their pairs say.
constexpr std::string_view kOften =
    "com net org for ent fro rom om   th the he  ist lis ost ail mai ing ion  id ith wit  by hos "
    "htt ttp tp: "
    "smt mtp ers and rec cei eiv ece ved ed   to to   of of   in you our ver hat  st  se  re  or "
    "tio ect sub pro "
    "use age pos not ate ati all her ter www .co .ne .or 00  19  200 ://";
constexpr double kRateOfOften = 1.0 / 500;

constexpr std::size_t pair(std::size_t a, std::size_t b) { return a * kClasses + b; }
using Anchor = std::array<std::uint8_t, WordFinder::kAnchor>;  // classes
constexpr std::size_t number(const Anchor& of) { return pair(pair(of[0], of[1]), of[2]); }
Anchor anchor(std::string_view word, std::size_t at) {
  return {WordFinder::octet_class(word[at]), WordFinder::octet_class(word[at + 1]),
          WordFinder::octet_class(word[at + 2])};
}

// How often each anchor stands at a place, by number().
std::vector<double> anchor_rates() {
  std::array<double, kClasses * kClasses> of_pair{};
  std::array<double, kClasses> of_first{};
  for (std::size_t i = 0; i < of_pair.size(); ++i) {
    of_pair[i] = std::exp2('a' - kPairs[i / kClasses][i % kClasses]);
    of_first[i / kClasses] += of_pair[i];
  }
  std::vector<double> rates;
  for (std::size_t i = 0; i < of_pair.size(); ++i) {
    for (std::size_t c = 0; c < kClasses; ++c) {
      const std::size_t b = i % kClasses;
      rates.push_back(of_pair[i] * of_pair[pair(b, c)] / of_first[b]);
    }
  }
  for (std::size_t at = 0; at + WordFinder::kAnchor <= kOften.size(); at += 4)
    rates[number(anchor(kOften, at))] = kRateOfOften;
  return rates;
}

class Chooser {
 public:
  void take(std::string_view word, std::size_t at) { count(anchor(word, at), 1); }
  void leave(std::string_view word, std::size_t at) { count(anchor(word, at), -1); }
  // The place that adds the least work to what was taken.
  std::size_t best(std::string_view word) const {
    std::size_t best = 0;
    double least = 0;
    for (std::size_t at = 0; at + WordFinder::kAnchor <= word.size(); ++at) {
      const double work = work_of(anchor(word, at));
      if (at > 0 && work >= least) continue;
      least = work;
      best = at;
    }
    return best;
  }

 private:
  void count(const Anchor& of, int by) {
    begins_[pair(of[0], of[1])] += by;
    ends_[pair(of[1], of[2])] += by;
  }
  double rate(const Anchor& of) const { return rates_[number(of)]; }
  // Places that look like an anchor when this one is there too, and did not before; and one more
  // word that is compared where it stands.
  double work_of(const Anchor& of) const {
    double places = rate(of);
    const bool begins = begins_[pair(of[0], of[1])] == 0;
    const bool ends = ends_[pair(of[1], of[2])] == 0;
    for (std::uint8_t c = 0; c < kClasses; ++c) {
      if (begins && (ends_[pair(of[1], c)] != 0 || c == of[2])) places += rate({of[0], of[1], c});
      if (ends && begins_[pair(c, of[1])] != 0) places += rate({c, of[1], of[2]});
    }
    return places;
  }

  const std::vector<double> rates_ = anchor_rates();
  std::array<int, kClasses * kClasses> begins_{};
  std::array<int, kClasses * kClasses> ends_{};
};

}  // namespace

std::vector<std::uint16_t> word_anchors(const std::vector<std::string>& words) {
  constexpr int kRounds = 3;
  // What has little choice chooses first.
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i].size() >= WordFinder::kAnchor) order.push_back(i);
  }
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return words[i].size(); });
  std::vector<std::uint16_t> anchors(words.size(), 0);
  Chooser chooser;
  for (int round = 0; round < kRounds; ++round) {
    for (const std::size_t i : order) {
      if (round > 0) chooser.leave(words[i], anchors[i]);
      anchors[i] = static_cast<std::uint16_t>(chooser.best(words[i]));
      chooser.take(words[i], anchors[i]);
    }
  }
  return anchors;
}

}  // namespace sluice::control
