// Attacks beside honest mail, in one engine: memory stays at its bound, counters tell, every frame
// is forwarded, and the honest flows lose nothing: their events, hashes and verdicts, and each of
// their frames, are those of a run without the attack.
#include <map>
#include <set>

#include "tests/unit/inspect/rig.h"

namespace sluice::test {
namespace {

using contract::Counter;
using contract::Gauge;

constexpr std::uint16_t kHonestPorts = 60'000;  // the client ports of honest flows, from here on
constexpr std::size_t kHonestFlows = 8;
constexpr std::size_t kMemory = 6u << 20;  // Settings::max_memory in these tests
constexpr std::size_t kFlows = 4096;       // Settings::max_flows

constexpr char kRules[] =
    "alert smtp any any -> any any (msg:\"needle\"; file_data; content:\"needle\"; sid:1;)\n"
    "alert smtp any any -> any any (msg:\"from\"; smtp.mail_from; content:\"alice\"; sid:2;)\n"
    "reject smtp any any -> any any (msg:\"spam\"; content:\"XJS-SPAM-XJS\"; sid:42;)\n";

// What the engine takes from the system, index of the table included.
class Counting final : public std::pmr::memory_resource {
 public:
  std::size_t used() const { return used_; }
  std::size_t peak() const { return peak_; }

 private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    used_ += bytes;
    peak_ = std::max(peak_, used_);
    return std::pmr::new_delete_resource()->allocate(bytes, alignment);
  }
  void do_deallocate(void* p, std::size_t bytes, std::size_t alignment) override {
    used_ -= bytes;
    std::pmr::new_delete_resource()->deallocate(p, bytes, alignment);
  }
  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override {
    return this == &other;
  }
  std::size_t used_ = 0;
  std::size_t peak_ = 0;
};

std::string lines(std::size_t count, char letter) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += std::string(70, letter) + "\r\n";
  return text;
}

std::string attachment(std::size_t rows) {
  return "From: <alice@a.test>\r\nTo: <bob@b.test>\r\nSubject: figures\r\nMIME-Version: 1.0\r\n"
         "Content-Type: multipart/mixed; boundary=\"edge\"\r\n\r\n--edge\r\n"
         "Content-Type: text/plain\r\n\r\nSee https://www.a.test/q3 for the needle.\r\n--edge\r\n"
         "Content-Type: application/pdf; name=\"f.pdf\"\r\nContent-Transfer-Encoding: "
         "base64\r\n\r\n" +
         lines(rows, 'Q') + "--edge--\r\n";
}

void in_order(std::vector<SentFrame>& frames) {
  std::stable_sort(frames.begin(), frames.end(),
                   [](const SentFrame& a, const SentFrame& b) { return a.time < b.time; });
}

// Eight conversations of different habits, merged as they go on at the same time.
std::vector<SentFrame> honest_mail() {
  std::vector<SentFrame> all;
  for (std::size_t i = 0; i < kHonestFlows; ++i) {
    ConversationOptions options;
    options.path.client.port = static_cast<std::uint16_t>(kHonestPorts + i);
    options.segment_size = i % 2 == 0 ? 536 : 1460;
    options.reorder = i % 4 == 1;
    options.duplicate = i % 4 == 3;
    options.timestamps = i % 3 == 0;
    options.block = 8;
    options.start = kSecond + i * 37 * kMillisecond;
    options.step = 20 * kMillisecond;
    Conversation talk(options);
    begin_message(talk);
    talk.client(attachment(200 + 20 * i));
    talk.wait(2 * kSecond);
    talk.client(lines(20, 'x') + ".\r\n");
    talk.server("250 2.0.0 Ok\r\n");
    talk.wait(7 * kSecond);  // sleeps meanwhile
    talk.client("MAIL FROM:<alice@a.test>\r\n");
    talk.server("250 2.1.0 Ok\r\n");
    talk.client("RCPT TO:<bob@b.test>\r\n");
    talk.server("250 2.1.5 Ok\r\n");
    talk.client("DATA\r\n");
    talk.server("354 go\r\n");
    talk.client(
        body(lines(100, 'a') + (i == 5 ? "XJS-SPAM-XJS\r\n" : "a needle\r\n") + lines(50, 'b')));
    talk.client(".\r\n");
    // What the condemned one's client would hear now comes from us.
    if (i != 5) {
      talk.server("250 2.0.0 Ok\r\n");
      talk.client("QUIT\r\n");
      talk.server("221 2.0.0 Bye\r\n");
      talk.close();
    }
    for (SentFrame& f : talk.take()) all.push_back(std::move(f));
  }
  in_order(all);
  return all;
}

bool honest(const net::Packet& p) {
  return p.source_port >= kHonestPorts || p.destination_port >= kHonestPorts;
}

struct Outcome {
  std::vector<Json> events;  // of the honest flows
  std::vector<Left> left;    // their frames
  std::size_t peak = 0;      // octets held for flows
  std::size_t system = 0;    // taken from the system, at most
  std::size_t tables = 0;    // of that, the flow table
  std::map<Counter, std::uint64_t> counters;
  std::map<contract::DropReason, std::size_t> drops;  // of the attack's frames
  std::set<std::string> attack_anomalies;
};

// Spreads the attack over the time in which there is honest mail.
std::vector<SentFrame> spread(std::vector<SentFrame> attack, const std::vector<SentFrame>& mail) {
  const Nanoseconds begin = mail.front().time;
  const Nanoseconds length = mail.back().time - begin;
  for (std::size_t i = 0; i < attack.size(); ++i)
    attack[i].time = begin + length / attack.size() * i;
  return attack;
}

// Honest mail, and the attack's frames between its frames by their times.
Outcome play(const std::vector<SentFrame>& attack, std::size_t max_flows = kFlows) {
  Outcome outcome;
  Counting system;
  {
    RigOptions options{.rules = kRules};
    options.settings.max_memory = kMemory;
    options.settings.max_flows = max_flows;
    options.memory = &system;
    Rig rig(options);
    const auto send = [&](const SentFrame& frame, bool of_attack) {
      rig.pass(frame.time - std::min(rig.now(), frame.time));
      rig.send(frame.side, frame.frame, rig.now());
      for (Left& l : rig.left) {
        if (honest(l.packet())) {
          outcome.left.push_back(std::move(l));
        } else if (l.kind == Left::Kind::dropped && of_attack) {
          ++outcome.drops[l.reason];
        }
      }
      rig.left.clear();
      outcome.peak = std::max(outcome.peak, rig.engine().memory_use().flows);
    };
    std::size_t sent = 0;
    for (const SentFrame& frame : honest_mail()) {
      for (; sent < attack.size() && attack[sent].time <= frame.time; ++sent)
        send(attack[sent], true);
      send(frame, false);
    }
    rig.pass(3 * kSecond);
    for (Left& l : rig.left)
      if (honest(l.packet())) outcome.left.push_back(std::move(l));
    outcome.tables = rig.engine().memory_use().table;
    rig.finish();
    for (Json e : rig.events) {
      if (e["src_port"] < kHonestPorts) {
        if (e["event_type"] == "anomaly")
          outcome.attack_anomalies.insert(e["anomaly"]["event"].get<std::string>());
        continue;
      }
      e.erase("flow_id");   // numbers of flows and frames,
      e.erase("pcap_cnt");  // which the attack takes some of
      // When a flow that is over is told depends on when its place is needed.
      if (e["event_type"] == "flow") e.erase("timestamp");
      outcome.events.push_back(e);
    }
    // Each flow's in their order.
    std::stable_sort(outcome.events.begin(), outcome.events.end(),
                     [](const Json& a, const Json& b) { return a["src_port"] < b["src_port"]; });
    for (const Counter c :
         {Counter::flows_bypassed, Counter::flows_shed, Counter::flows_evicted,
          Counter::memory_refused, Counter::flows_unreported, Counter::alerts, Counter::messages})
      outcome.counters[c] = rig.statistics().read(c);
  }
  outcome.system = system.peak();
  EXPECT_EQ(system.used(), 0u) << "all is given back";
  return outcome;
}

// What must hold whatever the attack.
void expect_unharmed(const Outcome& attacked) {
  static const Outcome quiet = play({});
  ASSERT_EQ(quiet.events.size(), attacked.events.size());
  for (std::size_t i = 0; i < quiet.events.size(); ++i)
    EXPECT_EQ(quiet.events[i], attacked.events[i]) << i;
  ASSERT_EQ(quiet.left.size(), attacked.left.size());
  for (std::size_t i = 0; i < quiet.left.size(); ++i) {
    EXPECT_EQ(quiet.left[i].kind, attacked.left[i].kind) << i;
    EXPECT_EQ(quiet.left[i].frame, attacked.left[i].frame) << i;
  }
  EXPECT_LE(attacked.peak, kMemory);
  EXPECT_LE(attacked.system, kMemory + attacked.tables);
  // The comparison compares something.
  std::size_t mails = 0;
  for (const Json& e : quiet.events) {
    if (e["event_type"] != "smtp") continue;
    ++mails;
    EXPECT_TRUE(e["smtp"].contains("sha256"));
  }
  EXPECT_EQ(mails, 2 * kHonestFlows);
}

// --- the attacks ---------------------------------------------------------------------------------

// The conversation of attacking flow `number`.
Conversation attacker(std::size_t number, ConversationOptions options = {}) {
  options.path.client.port = static_cast<std::uint16_t>(1024 + number % 50'000);
  options.path.client.address.octets[14] = static_cast<std::uint8_t>(number / 50'000 + 1);
  return Conversation(options);
}

// The frames of all flows, one of each in turn, over the whole time.
std::vector<SentFrame> in_turn(std::vector<std::vector<SentFrame>> flows) {
  std::vector<SentFrame> all;
  bool more = true;
  for (std::size_t i = 0; more; ++i) {
    more = false;
    for (auto& flow : flows) {
      if (i >= flow.size()) continue;
      all.push_back(std::move(flow[i]));
      more = true;
    }
  }
  return spread(std::move(all), honest_mail());
}

TEST(Attack, SlowSendersInTheMiddleOfAMessage) {
  // They begin within six seconds, and then say an octet every six.
  std::vector<SentFrame> frames;
  for (std::size_t n = 0; n < 1500; ++n) {
    Conversation talk =
        attacker(n, {.start = kSecond + n * 4 * kMillisecond, .step = 50 * kMicrosecond});
    begin_message(talk);
    talk.client("Subject: slow\r\n\r\n" + lines(12, 's'));
    for (int octet = 0; octet < 5; ++octet) {
      talk.wait(6 * kSecond);
      talk.client("z");
    }
    for (SentFrame& f : talk.take()) frames.push_back(std::move(f));
  }
  in_order(frames);
  const Outcome outcome = play(frames);
  expect_unharmed(outcome);
  EXPECT_GT(outcome.counters.at(Counter::flows_shed), 0u);
  EXPECT_TRUE(outcome.drops.empty());
}

TEST(Attack, OneOctetSegmentsThatNobodyAcknowledges) {
  std::vector<std::vector<SentFrame>> flows;
  for (std::size_t n = 0; n < 40; ++n) {
    Conversation talk = attacker(n, {.segment_size = 1, .acknowledge = false});
    begin_message(talk);
    talk.client(body("a needle " + lines(8, 'o')) + ".\r\n");
    flows.push_back(talk.take());
  }
  const Outcome outcome = play(in_turn(std::move(flows)));
  expect_unharmed(outcome);
  EXPECT_TRUE(outcome.drops.empty());
  // They are inspected all the same: 40 of their messages, 16 and one condemned of the others.
  EXPECT_EQ(outcome.counters.at(Counter::messages), 40u + 2 * kHonestFlows);
  EXPECT_EQ(outcome.counters.at(Counter::flows_bypassed), 0u);
}

TEST(Attack, HolesThatAreNeverFilled) {
  std::vector<std::vector<SentFrame>> flows;
  const std::string octets = lines(20, 'h');
  for (std::size_t n = 0; n < 80; ++n) {
    Conversation talk = attacker(n);
    begin_message(talk);
    talk.client("Subject: a hole\r\n\r\n");
    const std::uint32_t next = talk.next(Direction::to_server);
    for (std::uint32_t k = 0; k < 400; ++k)
      talk.inject(Direction::to_server, next + 1 + k * 1600, octets);
    flows.push_back(talk.take());
  }
  const Outcome outcome = play(in_turn(std::move(flows)));
  expect_unharmed(outcome);
  EXPECT_GT(outcome.counters.at(Counter::flows_shed), 0u);
}

TEST(Attack, OverlapStorm) {
  std::vector<std::vector<SentFrame>> flows;
  for (std::size_t n = 0; n < 20; ++n) {
    Conversation talk = attacker(n, {.acknowledge = false});
    begin_message(talk);
    const std::uint32_t next = talk.next(Direction::to_server);
    talk.client(lines(40, 'v'));
    for (std::uint32_t k = 0; k < 500; ++k)
      talk.inject(Direction::to_server, next + k * 37 % 2000,
                  std::string(600, static_cast<char>('a' + k % 26)));
    flows.push_back(talk.take());
  }
  const Outcome outcome = play(in_turn(std::move(flows)));
  expect_unharmed(outcome);
  EXPECT_TRUE(outcome.attack_anomalies.count("overlap-diff"));
}

TEST(Attack, HeaderFlood) {
  std::vector<std::vector<SentFrame>> flows;
  for (std::size_t n = 0; n < 60; ++n) {
    Conversation talk = attacker(n);
    begin_message(talk);
    std::string header;
    if (n % 3 == 0) header = "X-Long: " + std::string(200'000, 'l');
    for (int k = 0; k < 3000 && n % 3 == 1; ++k)
      header += "X-Field-" + std::to_string(k) + ": " + std::string(60, 'f') + "\r\n";
    for (int k = 0; k < 3000 && n % 3 == 2; ++k)
      header += k == 0 ? "To: <a@b.test>,\r\n" : " <a" + std::to_string(k) + "@b.test>,\r\n";
    talk.client(header);
    flows.push_back(talk.take());
  }
  const Outcome outcome = play(in_turn(std::move(flows)));
  expect_unharmed(outcome);
  EXPECT_TRUE(outcome.attack_anomalies.count("header-limit"));
  EXPECT_TRUE(outcome.drops.empty());
}

TEST(Attack, PartFlood) {
  std::vector<std::vector<SentFrame>> flows;
  for (std::size_t n = 0; n < 40; ++n) {
    Conversation talk = attacker(n);
    begin_message(talk);
    std::string text = "MIME-Version: 1.0\r\n";
    for (int depth = 0; depth < 40 && n % 2 == 0; ++depth) {
      const std::string edge = "edge" + std::to_string(depth);
      text += "Content-Type: multipart/mixed; boundary=" + edge + "\r\n\r\n--" + edge + "\r\n";
    }
    if (n % 2 == 1) text += "Content-Type: multipart/mixed; boundary=edge\r\n\r\n";
    for (int part = 0; part < 1500 && n % 2 == 1; ++part)
      text += "--edge\r\nContent-Type: application/zip; name=\"" + std::to_string(part) +
              std::string(40, 'n') + ".zip\"\r\n\r\nPK\x03\x04\r\n";
    talk.client(text);
    flows.push_back(talk.take());
  }
  const Outcome outcome = play(in_turn(std::move(flows)));
  expect_unharmed(outcome);
  EXPECT_TRUE(outcome.attack_anomalies.count("part-limit"));
  EXPECT_TRUE(outcome.attack_anomalies.count("depth-limit"));
  EXPECT_TRUE(outcome.drops.empty());
}

TEST(Attack, CommandsWithoutEnd) {
  std::vector<std::vector<SentFrame>> flows;
  for (std::size_t n = 0; n < 40; ++n) {
    Conversation talk = attacker(n);
    talk.open();
    talk.server("220 mx.test ESMTP\r\n");
    std::string text = "EHLO x\r\n";
    for (int k = 0; k < 1500; ++k)
      text += n % 2 == 0 ? "RSET\r\nMAIL FROM:<" + std::string(40, 'm') + "@a.test>\r\n"
                         : "RCPT TO:<" + std::to_string(k) + std::string(40, 'r') + "@b.test>\r\n";
    talk.client(text);
    flows.push_back(talk.take());
  }
  const Outcome outcome = play(in_turn(std::move(flows)));
  expect_unharmed(outcome);
  EXPECT_TRUE(outcome.attack_anomalies.count("too-many"));
  EXPECT_TRUE(outcome.drops.empty());
}

TEST(Attack, SynFlood) {
  std::vector<std::vector<SentFrame>> flows;
  for (std::size_t n = 0; n < 40'000; ++n) {
    Conversation talk = attacker(n);
    talk.open();
    flows.push_back(talk.take());
    flows.back().resize(1 + n % 2);
  }
  const Outcome outcome = play(in_turn(std::move(flows)), 2000);
  expect_unharmed(outcome);
  EXPECT_GT(outcome.counters.at(Counter::flows_evicted), 30'000u) << "half-open ones alone";
  EXPECT_GT(outcome.counters.at(Counter::flows_unreported), 0u);
  EXPECT_TRUE(outcome.drops.empty());
  static const Outcome quiet = play({}, 2000);
  EXPECT_LE(outcome.peak, quiet.peak + 4096) << "small entries alone";
}

// More whole connections than the table holds: those idle longest are forgotten, and their frames
// pass all the same.
TEST(Attack, ConnectionFlood) {
  std::vector<std::vector<SentFrame>> flows;
  for (std::size_t n = 0; n < 4000; ++n) {
    Conversation talk = attacker(n);
    talk.open();
    talk.server("220 mx.test ESMTP\r\n");
    talk.client("EHLO flood.test\r\n");
    flows.push_back(talk.take());
  }
  // One after the other, and those of the beginning once more when they were forgotten.
  std::vector<SentFrame> frames;
  for (auto& flow : flows)
    for (SentFrame& f : flow) frames.push_back(std::move(f));
  for (std::size_t n = 0; n < 1000; ++n) {
    Conversation talk = attacker(n);
    talk.open_silently();
    talk.client("NOOP\r\n");
    for (SentFrame& f : talk.take()) frames.push_back(std::move(f));
  }
  frames = spread(std::move(frames), honest_mail());
  const Outcome outcome = play(frames, 3000);
  expect_unharmed(outcome);
  EXPECT_GT(outcome.counters.at(Counter::flows_evicted), 1000u);
  EXPECT_TRUE(outcome.drops.empty());
}

}  // namespace
}  // namespace sluice::test
