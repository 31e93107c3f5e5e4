// The publisher against a dataplane of the test's own: one image at a time, newer ones replace
// those that wait, the rules travel only when they are needed, and every caller is told exactly
// once.
#include "control/publish/publisher.h"

#include <gtest/gtest.h>

#include <deque>

#include "dataplane/policy/policy.h"
#include "tests/unit/control/fake_dataplane.h"
#include "tests/unit/control/temporary_folder.h"

namespace sluice::control {
namespace {

using testing_support::FakeDataplane;
using testing_support::TemporaryFolder;

// Work is done when the test says so.
class Steps final : public Executor {
 public:
  void run(std::function<void()> work, std::function<void()> done) override {
    queue_.emplace_back(std::move(work), std::move(done));
  }
  bool step() {
    if (queue_.empty()) return false;
    auto [work, done] = std::move(queue_.front());
    queue_.pop_front();
    work();
    if (done) done();
    return true;
  }
  std::size_t waiting() const { return queue_.size(); }

 private:
  std::deque<std::pair<std::function<void()>, std::function<void()>>> queue_;
};

class PublisherTest : public testing::Test, private DataplaneChannel::Handler {
 protected:
  void SetUp() override {
    dataplane = std::make_unique<FakeDataplane>(folder.path() / "dp.sock");
    DataplaneChannel::Handler& handler = *this;
    channel = std::make_unique<DataplaneChannel>(folder.path() / "dp.sock", handler);
    publisher = std::make_unique<Publisher>(*channel, steps, [this] { return now; });
    configuration = std::make_shared<const Configuration>(*parse_configuration("{}", "test"));
    rules = *compile_rules({});
  }
  void connect() {
    for (int i = 0; i < 100 && !channel->connected(); ++i) {
      now += DataplaneChannel::kReconnectInterval;
      channel->tick(now);
      if (!dataplane->client && dataplane->accept()) dataplane->say_hello();
      channel->ready(now);
    }
    ASSERT_TRUE(channel->connected()) << channel->last_reason();
  }
  void drop() {
    dataplane->client.reset();
    for (int i = 0; i < 100 && channel->connected(); ++i) channel->ready(now);
    ASSERT_FALSE(channel->connected());
  }
  // Everything that can be done without the dataplane's answer.
  void settle() {
    while (steps.step()) {
    }
    channel->ready(now);
  }
  // What a dataplane has that runs `policy`.
  static policy::Policy::Known known_of(const policy::Policy& policy) {
    return {{{policy.ruleset_digest(), policy.shared_ruleset()}},
            {{policy.lists_digest(), policy.shared_lists()}}};
  }
  struct Sent {
    contract::ChannelPublishPolicy message;
    std::vector<std::uint8_t> image;
  };
  std::optional<Sent> receive() {
    auto got = dataplane->receive();
    Sent sent;
    if (got.octets.size() != sizeof sent.message) return std::nullopt;
    std::memcpy(&sent.message, got.octets.data(), sizeof sent.message);
    sent.image.resize(sent.message.size);
    EXPECT_EQ(::pread(got.fd.get(), sent.image.data(), sent.image.size(), 0),
              static_cast<ssize_t>(sent.image.size()));
    return sent;
  }
  void answer(std::uint32_t epoch, contract::PolicyStatus status, const char* reason = "") {
    contract::ChannelPolicyAnswer a;
    a.epoch = epoch;
    a.status = status;
    a.nanoseconds = 77;
    std::strncpy(a.reason, reason, sizeof a.reason - 1);
    dataplane->send(a);
    channel->ready(now);
  }
  void publish(std::uint32_t rate) {
    // Told apart by a host rule.
    publisher->publish({configuration, rules, no_lists(),
                        [rate] {
                          policy::HostRule r;
                          r.action = policy::HostAction::limit;
                          r.rate_per_hour = rate;
                          return std::vector<policy::HostRule>{r};
                        }},
                       [this, rate](const PublishOutcome& o) { outcomes.emplace_back(rate, o); });
  }

  void dataplane_connected(const contract::ChannelHello& hello) override {
    publisher->dataplane_connected(hello);
  }
  void dataplane_disconnected(const std::string& reason) override {
    publisher->dataplane_disconnected(reason);
  }
  void policy_answered(const contract::ChannelPolicyAnswer& a) override {
    publisher->policy_answered(a);
  }
  void wire_changed(const contract::ChannelWireState&) override {}
  void dataplane_event(Bytes) override {}

  TemporaryFolder folder;
  Nanoseconds now = kSecond;
  Steps steps;
  std::unique_ptr<FakeDataplane> dataplane;
  std::unique_ptr<DataplaneChannel> channel;
  std::unique_ptr<Publisher> publisher;
  std::shared_ptr<const Configuration> configuration;
  std::shared_ptr<const CompiledRules> rules;
  std::vector<std::pair<std::uint32_t, PublishOutcome>> outcomes;
};

TEST_F(PublisherTest, WithoutADataplaneTheCallerIsToldAndWhatIsWantedWaits) {
  publish(5);
  settle();
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_EQ(outcomes[0].second.status, PublishOutcome::Status::unavailable);
  EXPECT_FALSE(outcomes[0].second.reason.empty());
  connect();
  settle();
  const auto sent = receive();
  ASSERT_TRUE(sent) << "what was wanted before goes out when a dataplane comes";
  answer(sent->message.epoch, contract::PolicyStatus::adopted);
  EXPECT_EQ(publisher->adopted_epoch(), sent->message.epoch);
  EXPECT_EQ(outcomes.size(), 1u) << "each caller is told once";
}

TEST_F(PublisherTest, OneInFlightAndTheNewestOfThoseThatWait) {
  connect();
  publish(1);
  settle();
  const auto first = receive();
  ASSERT_TRUE(first);
  for (std::uint32_t rate = 2; rate <= 9; ++rate) publish(rate);
  settle();
  EXPECT_FALSE(receive()) << "a second image while an answer is due";
  answer(first->message.epoch, contract::PolicyStatus::adopted);
  settle();
  const auto second = receive();
  ASSERT_TRUE(second);
  EXPECT_GT(second->message.epoch, first->message.epoch);
  const auto opened = policy::Policy::open(second->image, {});
  if (opened) {
    EXPECT_EQ((*opened)->host(Address{})->rate_per_hour, 9u);
  } else {
    EXPECT_EQ(opened.error(), policy::Policy::kNeedsRuleset);
  }
  answer(second->message.epoch, contract::PolicyStatus::adopted);
  settle();
  EXPECT_FALSE(receive());
  ASSERT_EQ(outcomes.size(), 9u);
  for (const auto& [rate, o] : outcomes) {
    EXPECT_EQ(o.status, PublishOutcome::Status::adopted) << rate;
  }
  EXPECT_EQ(publisher->adoptions(), 2u);
  EXPECT_TRUE(publisher->idle());
}

TEST_F(PublisherTest, ARulesetTravelsOnlyWhenItIsLacking) {
  connect();
  publish(1);
  settle();
  auto sent = receive();
  ASSERT_TRUE(sent);
  // A dataplane that has just come is tried without first; it says that it needs the rules.
  if (!policy::Policy::open(sent->image, {})) {
    answer(sent->message.epoch, contract::PolicyStatus::needs_ruleset);
    settle();
    sent = receive();
    ASSERT_TRUE(sent);
  }
  const auto whole = policy::Policy::open(sent->image, {});
  ASSERT_TRUE(whole) << whole.error();
  answer(sent->message.epoch, contract::PolicyStatus::adopted);
  publish(2);
  settle();
  sent = receive();
  ASSERT_TRUE(sent);
  EXPECT_FALSE(policy::Policy::open(sent->image, {})) << "the rules went again";
  EXPECT_TRUE(policy::Policy::open(sent->image, known_of(**whole)));
  answer(sent->message.epoch, contract::PolicyStatus::needs_ruleset);
  settle();
  sent = receive();
  ASSERT_TRUE(sent) << "asked for, and not sent";
  EXPECT_TRUE(policy::Policy::open(sent->image, {}));
}

TEST_F(PublisherTest, ARefusalIsToldAndDoesNotStopTheNext) {
  connect();
  publish(1);
  settle();
  auto sent = receive();
  ASSERT_TRUE(sent);
  answer(sent->message.epoch, contract::PolicyStatus::refused, "no such thing");
  settle();
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_EQ(outcomes[0].second.status, PublishOutcome::Status::refused);
  EXPECT_EQ(outcomes[0].second.reason, "no such thing");
  EXPECT_EQ(publisher->refusals(), 1u);
  EXPECT_EQ(publisher->last_refusal(), "no such thing");
  publish(2);
  settle();
  sent = receive();
  ASSERT_TRUE(sent);
  answer(sent->message.epoch, contract::PolicyStatus::adopted);
  settle();
  ASSERT_EQ(outcomes.size(), 2u);
  EXPECT_EQ(outcomes[1].second.status, PublishOutcome::Status::adopted);
}

TEST_F(PublisherTest, ADataplaneThatDiesInBetweenGetsItWhenItComesBack) {
  connect();
  publish(1);
  settle();
  ASSERT_TRUE(receive());
  drop();
  settle();
  ASSERT_EQ(outcomes.size(), 1u);
  EXPECT_EQ(outcomes[0].second.status, PublishOutcome::Status::unavailable);
  connect();
  settle();
  const auto again = receive();
  ASSERT_TRUE(again) << "the wanted policy is published again";
  answer(again->message.epoch, contract::PolicyStatus::adopted);
  EXPECT_EQ(publisher->adopted_epoch(), again->message.epoch);
}

TEST_F(PublisherTest, EpochsOnlyGrow) {
  publisher->raise_epoch(41);
  connect();
  publish(1);
  settle();
  const auto sent = receive();
  ASSERT_TRUE(sent);
  EXPECT_GT(sent->message.epoch, 41u);
  publisher->raise_epoch(7);
  answer(sent->message.epoch, contract::PolicyStatus::adopted);
  publish(2);
  settle();
  const auto next = receive();
  ASSERT_TRUE(next);
  EXPECT_GT(next->message.epoch, sent->message.epoch);
}

}  // namespace
}  // namespace sluice::control
