// Dialogues for tests: played in many cuts, which must agree.
#pragma once

#include <gtest/gtest.h>

#include "tests/unit/smtp/recorder.h"

namespace sluice::smtp::test {

// Plays the dialogue in all cuts, which must agree; returns what the uncut one gave.
inline Recorder play(const Dialogue& dialogue, const Options& options = {}) {
  Recorder whole_cut;
  run(whole_cut, dialogue, whole(), options);
  EXPECT_EQ(whole_cut.faults, "");
  std::vector<Cut> cuts = {pieces(1), pieces(2), pieces(536)};
  for (unsigned seed = 1; seed <= 6; ++seed) cuts.push_back(random_pieces(seed));
  for (std::size_t i = 0; i < cuts.size(); ++i) {
    Recorder other;
    run(other, dialogue, cuts[i], options);
    EXPECT_EQ(other.faults, "");
    EXPECT_EQ(whole_cut.transcript(), other.transcript()) << "cut " << i;
    if (whole_cut.transcript() != other.transcript()) break;
  }
  return whole_cut;
}

inline const std::string kGreeting = "220 mx.test ESMTP\r\n";
inline const std::string kEhloReply =
    "250-mx.test\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-STARTTLS\r\n250 ENHANCEDSTATUSCODES\r\n";

inline const std::string kHello = "\x16\x03\x01\x00\x05hello"s;
inline const std::string kRecords = "\x16\x03\x03\x00\x05world"s;

inline Dialogue opened(std::initializer_list<Turn> rest) {
  Dialogue d{S(kGreeting), C("EHLO c.test\r\n"), S(kEhloReply)};
  d.insert(d.end(), rest);
  return d;
}

// MAIL, RCPT and DATA one after another, accepted.
inline Dialogue with_message(std::string_view from, std::string_view to, std::string_view content,
                             std::string_view reply = "250 ok\r\n") {
  return {C("MAIL FROM:<" + std::string(from) + ">\r\n"),
          S("250 ok\r\n"),
          C("RCPT TO:<" + std::string(to) + ">\r\n"),
          S("250 ok\r\n"),
          C("DATA\r\n"),
          S("354 go\r\n"),
          C(content),
          S(reply)};
}
inline Dialogue operator+(Dialogue a, const Dialogue& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace sluice::smtp::test
