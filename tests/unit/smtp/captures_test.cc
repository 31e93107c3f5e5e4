// The SMTP captures against what independent tools found in them (tests/captures/expected.tsv). The
// reassembly here is the simplest that real captures need and shares no code with the product: the
// octets of each direction by sequence number, given in the order in which they became contiguous.
#include <gtest/gtest.h>
#include <openssl/sha.h>

#include <map>

#include "tests/unit/smtp/dialogue.h"
#include "tests/unit/support/pcap_file.h"

namespace sluice::smtp::test {
namespace {

struct Stream {
  bool open = false;
  std::uint32_t next = 0;
  std::map<std::uint32_t, std::string> waiting;
};

// One connection's octets as turns. Only plain Ethernet or raw IPv4 occurs in these captures.
std::vector<Dialogue> dialogues(const std::string& name) {
  const auto capture = sluice::test::read_capture(std::string(CAPTURES) + "/" + name);
  struct Connection {
    Dialogue dialogue;
    Stream stream[2];
  };
  std::map<std::string, Connection> connections;
  for (const auto& [time, frame] : capture.frames) {
    std::size_t at = capture.link_type == 1 ? 14 : capture.link_type == 0 ? 4 : 0;
    if (capture.link_type == 1)
      while (frame.size() > at + 4 && load_be16(&frame[at - 2]) == 0x8100) at += 4;
    if (frame.size() < at + 40 || frame[at] >> 4 != 4 || frame[at + 9] != 6) continue;
    const std::size_t length = load_be16(&frame[at + 2]);
    const std::size_t tcp = at + (frame[at] & 15u) * 4;
    const std::size_t payload = tcp + (frame[tcp + 12] >> 4) * 4u;
    const std::uint16_t source = load_be16(&frame[tcp]);
    const std::uint16_t destination = load_be16(&frame[tcp + 2]);
    const auto is_mail = [](std::uint16_t port) {
      return port == 25 || port == 587 || port == 2525;
    };
    if (!is_mail(source) && !is_mail(destination)) continue;
    const bool up = is_mail(destination);
    Connection& c = connections[std::to_string(up ? source : destination)];
    Stream& stream = c.stream[up ? 0 : 1];
    const std::uint32_t sequence = load_be32(&frame[tcp + 4]);
    if (frame[tcp + 13] & 2) {
      stream = {.open = true, .next = sequence + 1};
      continue;
    }
    if (!stream.open || at + length <= payload || at + length > frame.size()) continue;
    stream.waiting.emplace(sequence, std::string(frame.begin() + static_cast<long>(payload),
                                                 frame.begin() + static_cast<long>(at + length)));
    for (bool more = true; more;) {
      more = false;
      for (auto it = stream.waiting.begin(); it != stream.waiting.end();) {
        const auto ahead = static_cast<std::int32_t>(it->first - stream.next);
        if (ahead > 0) {
          ++it;
          continue;
        }
        const auto behind = static_cast<std::size_t>(-ahead);
        if (behind < it->second.size()) {
          const std::string fresh = it->second.substr(behind);
          stream.next += static_cast<std::uint32_t>(fresh.size());
          c.dialogue.push_back(up ? C(fresh) : S(fresh));
          more = true;
        }
        it = stream.waiting.erase(it);
      }
    }
  }
  std::vector<Dialogue> result;
  for (auto& [key, c] : connections)
    if (!c.dialogue.empty()) result.push_back(c.dialogue);
  return result;
}

std::string digest(const std::string& text) {
  unsigned char hash[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), hash);
  std::string hex;
  for (int i = 0; i < 8; ++i) {
    hex += "0123456789abcdef"[hash[i] >> 4];
    hex += "0123456789abcdef"[hash[i] & 15];
  }
  return hex;
}

// The complete messages of a capture, in the form of expected.tsv.
std::string messages(const std::vector<Recorder>& recorders) {
  std::string text;
  for (const Recorder& r : recorders) {
    for (const auto& m : r.messages) {
      if (m.end != MessageEnd::complete) continue;
      if (!text.empty()) text += ';';
      text += (m.via == Via::bdat ? "BDAT:" : "DATA:") + std::to_string(m.wire.size()) + ":" +
              digest(m.wire);
    }
  }
  return text;
}

std::vector<Recorder> read(const std::string& name) {
  std::vector<Recorder> result;
  for (const Dialogue& d : dialogues(name)) result.push_back(play(d));
  EXPECT_FALSE(result.empty()) << name;
  return result;
}

TEST(SmtpCaptures, MessagesAsExpected) {
  std::ifstream table(std::string(CAPTURES) + "/expected.tsv");
  std::string line;
  std::getline(table, line);
  int compared = 0;
  while (std::getline(table, line)) {
    std::vector<std::string> columns;
    for (std::size_t at = 0; at <= line.size();) {
      const std::size_t tab = std::min(line.find('\t', at), line.size());
      columns.push_back(line.substr(at, tab - at));
      at = tab + 1;
    }
    ASSERT_GE(columns.size(), 9u);
    if (columns[3] == "0") continue;  // no SMTP flow in it
    SCOPED_TRACE(columns[0]);
    const std::vector<Recorder> recorders = read(columns[0]);
    EXPECT_EQ(messages(recorders), columns[6]);
    int accepted = 0;
    for (const Recorder& r : recorders)
      for (const auto& m : r.messages)
        if (m.end == MessageEnd::complete && !r.transactions.at(m.tx).ends.empty())
          accepted += r.transactions.at(m.tx).ends[0].first / 100 == 2;
    EXPECT_EQ(std::to_string(accepted), columns[5]);
    ++compared;
  }
  EXPECT_GE(compared, 12);
}

TEST(SmtpCaptures, Details) {
  const auto bdat = read("s02-bdat-last.pcap");
  EXPECT_NE(bdat.at(0).transcript().find("queued as 1E2891CA025"), std::string::npos);
  const auto disorder = read("s05-commands-out-of-order.pcap");
  EXPECT_TRUE(disorder.at(0).has(Anomaly::command_sequence));
  EXPECT_EQ(disorder.at(0).transactions.size(), 4u);
  EXPECT_FALSE(disorder.at(0).has(Anomaly::unsolicited_reply));
  const auto two = read("s09-bdat-then-data.pcap");
  EXPECT_TRUE(two.at(0).anomalies.empty());
  const auto overlong = read("s12-overlong-ehlo.pcap");
  EXPECT_EQ(overlong.at(0).anomalies, (std::set<std::string>{"long-command"}));
  const auto tls = read("s04-starttls.pcap");
  EXPECT_EQ(tls.at(0).tls, 1);
  EXPECT_NE(tls.at(0).transcript().find("reply 220 2.0.0 Ready to start TLS"), std::string::npos);
  EXPECT_TRUE(tls.at(0).anomalies.empty());
  const auto auths = read("s01-two-sessions.pcap");
  int users = 0;
  for (const Recorder& r : auths)
    for (const auto& a : r.auths) users += !a.user.empty() && a.code == 235;
  EXPECT_EQ(users, 1);  // the other session has none
  const auto four = read("s10-four-urls.pcap");
  bool bare = false;
  for (const Recorder& r : four) bare = bare || r.has(Anomaly::bare_lf);
  EXPECT_TRUE(bare);
}

}  // namespace
}  // namespace sluice::smtp::test
