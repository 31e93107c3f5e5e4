// Control's end of the channel against a dataplane that may be absent, die, lie or be of another
// version.
#include "control/publish/channel.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "tests/unit/control/fake_dataplane.h"
#include "tests/unit/control/temporary_folder.h"

namespace sluice::control {
namespace {

using testing_support::FakeDataplane;
using testing_support::TemporaryFolder;

struct Recorder final : DataplaneChannel::Handler {
  void dataplane_connected(const contract::ChannelHello&) override { ++connected; }
  void dataplane_disconnected(const std::string& reason) override {
    ++disconnected;
    last_reason = reason;
  }
  void policy_answered(const contract::ChannelPolicyAnswer& answer) override {
    answers.push_back(answer);
  }
  void wire_changed(const contract::ChannelWireState& state) override {
    wires.emplace_back(state.name);
  }
  void dataplane_event(Bytes record) override { events.emplace_back(record.begin(), record.end()); }

  int connected = 0;
  int disconnected = 0;
  std::string last_reason;
  std::vector<contract::ChannelPolicyAnswer> answers;
  std::vector<std::string> wires;
  std::vector<std::vector<std::uint8_t>> events;
};

class Channel : public testing::Test {
 protected:
  Channel() : path(folder.path() / "dataplane.sock"), channel(path, recorder) {}
  void step(Nanoseconds by = DataplaneChannel::kReconnectInterval) {
    now += by;
    channel.tick(now);
    channel.ready(now);
  }
  // A dataplane with which the channel is connected.
  std::unique_ptr<FakeDataplane> connect() {
    auto dataplane = std::make_unique<FakeDataplane>(path);
    step();
    EXPECT_TRUE(dataplane->accept());
    dataplane->say_hello();
    channel.ready(now);
    EXPECT_TRUE(channel.connected()) << channel.last_reason();
    return dataplane;
  }
  static std::vector<std::uint8_t> record(std::uint64_t sequence) {
    contract::EventWriter writer;
    contract::EventHeader header;
    header.type = contract::EventType::wire;
    header.sequence = sequence;
    writer.begin(header);
    const Bytes b = writer.finish();
    return {b.begin(), b.end()};
  }

  TemporaryFolder folder;
  std::string path;
  Recorder recorder;
  DataplaneChannel channel;
  Nanoseconds now = kSecond;
};

TEST_F(Channel, AbsentDataplaneIsNoError) {
  for (int i = 0; i < 50; ++i) step();
  EXPECT_FALSE(channel.connected());
  EXPECT_EQ(recorder.disconnected, 0);
  EXPECT_NE(channel.last_reason().find("No such file"), std::string::npos);
  EXPECT_FALSE(channel.publish(1, UniqueFd{}, 0, now));
  EXPECT_FALSE(channel.request_snapshot(1));
  auto dataplane = connect();
  EXPECT_EQ(recorder.connected, 1);
}

TEST_F(Channel, DeathAndReconnectLoseNoWrittenEvent) {
  auto dataplane = connect();
  const auto first = record(1);
  dataplane->producers[0].write(Bytes(first));
  EXPECT_EQ(channel.read_events(100), 1u);
  const auto last_words = record(2);
  dataplane->producers[1].write(Bytes(last_words));
  dataplane.reset();  // dies before control has looked again
  channel.ready(now);
  EXPECT_FALSE(channel.connected());
  EXPECT_EQ(recorder.disconnected, 1);
  ASSERT_EQ(recorder.events.size(), 2u);
  EXPECT_EQ(recorder.events[1], last_words);
  EXPECT_TRUE(channel.statistics().empty());
  dataplane = connect();
  EXPECT_EQ(recorder.connected, 2);
}

TEST_F(Channel, ImageArrivesSealedAndAnswerComesBack) {
  auto dataplane = connect();
  const std::vector<std::uint8_t> image(100'000, 0x5a);
  auto fd = sealed_memfd(image);
  ASSERT_TRUE(fd) << fd.error();
  ASSERT_TRUE(channel.publish(7, std::move(*fd), image.size(), now));
  EXPECT_FALSE(channel.publish(8, UniqueFd{}, 0, now)) << "one at a time";
  auto got = dataplane->receive();
  contract::ChannelPublishPolicy publish;
  ASSERT_EQ(got.octets.size(), sizeof publish);
  std::memcpy(&publish, got.octets.data(), sizeof publish);
  EXPECT_EQ(publish.kind, contract::ChannelKind::publish_policy);
  EXPECT_EQ(publish.epoch, 7u);
  EXPECT_EQ(publish.size, image.size());
  ASSERT_TRUE(got.fd);
  EXPECT_EQ(::fcntl(got.fd.get(), F_GET_SEALS),
            F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
  EXPECT_EQ(::write(got.fd.get(), "x", 1), -1);
  std::vector<std::uint8_t> back(image.size());
  EXPECT_EQ(::pread(got.fd.get(), back.data(), back.size(), 0), static_cast<ssize_t>(back.size()));
  EXPECT_EQ(back, image);

  contract::ChannelPolicyAnswer other;
  other.epoch = 6;
  dataplane->send(other);  // of an epoch that was not asked
  contract::ChannelPolicyAnswer refused;
  refused.epoch = 7;
  refused.status = contract::PolicyStatus::refused;
  std::strcpy(refused.reason, "digest");
  dataplane->send(refused);
  channel.ready(now);
  ASSERT_EQ(recorder.answers.size(), 1u);
  EXPECT_EQ(recorder.answers[0].status, contract::PolicyStatus::refused);
  EXPECT_STREQ(recorder.answers[0].reason, "digest");
  EXPECT_EQ(channel.unknown_messages(), 1u);
  EXPECT_FALSE(channel.publishing());
}

TEST_F(Channel, SilentDataplaneIsGivenUp) {
  {
    FakeDataplane dataplane(path);
    step();
    ASSERT_TRUE(dataplane.accept());
    step(DataplaneChannel::kGreetingTimeout);
    EXPECT_NE(channel.last_reason().find("did not say Hello"), std::string::npos);
  }
  auto dataplane = connect();
  auto fd = sealed_memfd({});
  ASSERT_TRUE(channel.publish(1, std::move(*fd), 0, now));
  step(DataplaneChannel::kAnswerTimeout);
  EXPECT_FALSE(channel.connected());
  EXPECT_NE(recorder.last_reason.find("did not answer"), std::string::npos);
}

TEST_F(Channel, WireStatesAndStatistics) {
  auto dataplane = connect();
  contract::ChannelWireState state;
  std::strcpy(state.name, "w1");
  dataplane->send(state);
  channel.ready(now);
  ASSERT_EQ(recorder.wires.size(), 1u);
  EXPECT_EQ(recorder.wires[0], "w1");
  dataplane->worker(1).add(contract::Counter::messages, 5);
  ASSERT_EQ(channel.statistics().size(), 2u);
  EXPECT_EQ(channel.statistics()[1]->read(contract::Counter::messages), 5u);
}

TEST_F(Channel, LostEventsAreOfOurTimeOnly) {
  auto dataplane = std::make_unique<FakeDataplane>(path);
  const std::vector<std::uint8_t> big(16'000);
  while (dataplane->producers[0].write(Bytes(big))) {
  }
  step();
  ASSERT_TRUE(dataplane->accept());
  dataplane->say_hello();
  channel.ready(now);
  EXPECT_EQ(channel.events_lost(), 0u) << "lost before control came";
  EXPECT_FALSE(dataplane->producers[0].write(Bytes(big)));
  EXPECT_EQ(channel.events_lost(), 1u);
  dataplane.reset();
  channel.ready(now);
  EXPECT_EQ(channel.events_lost(), 1u) << "kept over the death of the ring";
}

// Every kind of nonsense ends the connection with a reason, and the next good peer is accepted.
TEST_F(Channel, GarbageFromThePeer) {
  struct Case {
    const char* name;
    std::function<void(FakeDataplane&)> talk;
    const char* reason;
  };
  const Case cases[] = {
      {"short", [](FakeDataplane& d) { d.send(std::uint16_t{1}); }, "wrong size"},
      {"long", [](FakeDataplane& d) { d.send_octets(Bytes(std::vector<std::uint8_t>(4000, 1))); },
       "wrong size"},
      {"answer first", [](FakeDataplane& d) { d.send(contract::ChannelPolicyAnswer{}); },
       "before its Hello"},
      {"no descriptors", [](FakeDataplane& d) { d.send(d.hello()); }, "descriptors"},
      {"other version",
       [](FakeDataplane& d) {
         auto h = d.hello();
         h.version = 99;
         d.send(h, {d.statistics_fd(), d.rings_fd()});
       },
       "version 99"},
      {"too many workers",
       [](FakeDataplane& d) {
         auto h = d.hello();
         h.workers = 0xffffffff;
         d.send(h, {d.statistics_fd(), d.rings_fd()});
       },
       "make no sense"},
      {"ring not a power of two",
       [](FakeDataplane& d) {
         auto h = d.hello();
         h.ring_capacity += 1;
         d.send(h, {d.statistics_fd(), d.rings_fd()});
       },
       "make no sense"},
      {"objects too small",
       [](FakeDataplane& d) {
         auto h = d.hello();
         h.workers = 64;
         d.send(h, {d.statistics_fd(), d.rings_fd()});
       },
       "smaller than"},
      {"descriptors swapped",
       [](FakeDataplane& d) {
         d.send(d.hello(), {d.rings_fd(), d.statistics_fd()});
       },
       "smaller than"},
      {"not files",
       [](FakeDataplane& d) {
         d.send(d.hello(), {d.client.get(), d.client.get()});
       },
       "smaller than"},
      {"unterminated wire name",
       [](FakeDataplane& d) {
         d.say_hello();
         contract::ChannelWireState s;
         std::memset(s.name, 'x', sizeof s.name);
         d.send(s);
       },
       "malformed wire state"},
      {"second Hello",
       [](FakeDataplane& d) {
         d.say_hello();
         d.say_hello();
       },
       "malformed Hello"},
  };
  for (const Case& c : cases) {
    {
      FakeDataplane dataplane(path);
      step();
      ASSERT_TRUE(dataplane.accept()) << c.name;
      c.talk(dataplane);
      channel.ready(now);
      EXPECT_FALSE(channel.connected()) << c.name;
      EXPECT_NE(channel.last_reason().find(c.reason), std::string::npos)
          << c.name << ": " << channel.last_reason();
    }
    step();
  }
  const auto dataplane = connect();
  struct Unknown {
    std::uint32_t kind = 77;
    std::uint32_t more[3]{};
  };
  dataplane->send(Unknown{});
  channel.ready(now);
  EXPECT_TRUE(channel.connected()) << "an unknown kind is counted, no more";
  EXPECT_EQ(channel.unknown_messages(), 1u);
}

}  // namespace
}  // namespace sluice::control
