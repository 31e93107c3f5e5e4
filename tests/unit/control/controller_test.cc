// sluiced whole, in one process with a dataplane and a kernel of the test's own: events in, steps
// of the ladder, images and lists out; configurations that are refused; restarts; hostile text.
#include "control/daemon/controller.h"

#include <gtest/gtest.h>

#include <fstream>
#include <future>

#include "control/identity/prefix.h"
#include "tests/unit/control/fake_dataplane.h"
#include "tests/unit/control/temporary_folder.h"

namespace sluice::control {
namespace {

using nlohmann::json;
using testing_support::FakeDataplane;
using testing_support::TemporaryFolder;

// The kernel's lists of one wire, which outlive whoever opens them.
struct KernelTable {
  std::mutex mutex;
  std::map<std::string, KernelEntry> entries;
  int replaced = 0;
  bool attached = true;
};

class FakeKernelWire final : public KernelWire {
 public:
  explicit FakeKernelWire(KernelTable& table) : table_(table) {}
  Status put(const KernelEntry& e) override {
    const std::lock_guard lock(table_.mutex);
    table_.entries[to_text(e.prefix)] = e;
    return ok();
  }
  Status remove(const Prefix& p) override {
    const std::lock_guard lock(table_.mutex);
    table_.entries.erase(to_text(p));
    return ok();
  }
  Status replace(std::span<const KernelEntry> all) override {
    const std::lock_guard lock(table_.mutex);
    table_.entries.clear();
    for (const KernelEntry& e : all) table_.entries[to_text(e.prefix)] = e;
    ++table_.replaced;
    return ok();
  }
  Result<std::vector<KernelEntry>> entries() override {
    const std::lock_guard lock(table_.mutex);
    std::vector<KernelEntry> all;
    for (const auto& [text, e] : table_.entries) all.push_back(e);
    return all;
  }
  Status set(std::span<const std::uint16_t>, policy::Exception) override { return ok(); }
  void read_state(KernelState& state) override { state.alive = true; }
  std::vector<KernelProbe> probe(std::uint16_t port, std::uint32_t count) override {
    return {{"inside", "mail segment", "", true, "mail-to-socket", port + count}};
  }

 private:
  KernelTable& table_;
};

class ControllerTest : public testing::Test {
 protected:
  void SetUp() override { write_config(enforcing()); }
  static std::string enforcing() {
    return R"({"sluice:sluice":{"wire":[{"name":"w1","mode":"enforce"}],
               "detection":{"window":60,"limit-threshold":2,"block-threshold":3}}})";
  }
  void write_config(const std::string& text) {
    std::ofstream(folder.path() / "sluice.json") << text;
  }
  void start() {
    loop = std::make_unique<EventLoop>();
    ControllerOptions o;
    o.config = folder.path() / "sluice.json";
    o.dataplane_socket = folder.path() / "dp.sock";
    o.socket = folder.path() / "c.sock";
    o.state = folder.path() / "state";
    o.eve = folder.path() / "eve.json";
    o.open_kernel_wire = [this](const std::string&) -> Result<std::unique_ptr<KernelWire>> {
      const std::lock_guard lock(kernel.mutex);
      if (!kernel.attached) return Error{"not attached"};
      return std::unique_ptr<KernelWire>(std::make_unique<FakeKernelWire>(kernel));
    };
    controller = std::make_unique<Controller>(*loop, std::move(o));
    const Status s = controller->start();
    ASSERT_TRUE(s) << s.error();
  }
  void stop() {
    controller.reset();
    loop.reset();
  }
  void TearDown() override { stop(); }
  // Turns the loop until `done`; false when it never was.
  bool until(const std::function<bool()>& done) {
    for (int i = 0; i < 10'000; ++i) {
      if (done()) return true;
      loop->turn(2);
      serve();
    }
    return done();
  }
  // The dataplane's side: takes every policy, unless told otherwise.
  void serve() {
    if (!dataplane) return;
    if (!dataplane->client && dataplane->accept()) dataplane->say_hello();
    if (!dataplane->client) return;
    while (true) {
      auto got = dataplane->receive();
      if (got.octets.size() == sizeof(contract::ChannelFlowSnapshot)) {
        contract::ChannelFlowSnapshot request;
        std::memcpy(&request, got.octets.data(), sizeof request);
        answer_snapshot(request.identity);
        continue;
      }
      contract::ChannelPublishPolicy publish;
      if (got.octets.size() != sizeof publish) return;
      std::memcpy(&publish, got.octets.data(), sizeof publish);
      std::vector<std::uint8_t> image(publish.size);
      EXPECT_EQ(::pread(got.fd.get(), image.data(), image.size(), 0),
                static_cast<ssize_t>(image.size()));
      contract::ChannelPolicyAnswer answer;
      answer.epoch = publish.epoch;
      answer.status = contract::PolicyStatus::adopted;
      const auto opened = policy::Policy::open(Bytes(image), known);
      if (refuse) {
        answer.status = contract::PolicyStatus::refused;
        std::strcpy(answer.reason, "test says no");
      } else if (!opened) {
        answer.status = known.rulesets.empty() ? contract::PolicyStatus::refused
                                               : contract::PolicyStatus::needs_ruleset;
      } else {
        live = *opened;
        known = {.rulesets = {{live->ruleset_digest(), live->shared_ruleset()}},
                 .lists = {{live->lists_digest(), live->shared_lists()}}};
        ++adopted;
      }
      dataplane->send(answer);
    }
  }
  void answer_snapshot(std::uint32_t identity) {
    for (std::size_t worker = 0; worker < dataplane->producers.size(); ++worker) {
      contract::EventWriter writer;
      contract::EventHeader h;
      h.type = contract::EventType::flow_snapshot;
      h.flow_id = 100 + worker;
      writer.begin(h);
      writer.put(contract::Field::smtp_state, std::string_view("data"));
      dataplane->producers[worker].write(writer.finish());
      h.type = contract::EventType::snapshot_end;
      writer.begin(h);
      writer.put_number(contract::Field::tx_id, identity);
      dataplane->producers[worker].write(writer.finish());
    }
  }
  void message(const std::string& host, contract::Verdict verdict, std::string_view reason = {},
               std::string_view from = "<s@a.test>") {
    contract::EventWriter writer;
    contract::EventHeader h;
    h.type = contract::EventType::smtp;
    h.flow_id = ++flows;
    h.wall_time = wall_now();
    h.source = *parse_address(host);
    h.destination = *parse_address("198.51.100.25");
    h.source_port = 40'000;
    h.destination_port = 25;
    h.flags = contract::kEventEnforced;
    writer.begin(h);
    writer.put(contract::Field::mail_from, from);
    writer.put(contract::Field::rcpt_to, std::string_view("<r@b.test>"));
    writer.put_number(contract::Field::verdict, static_cast<std::uint8_t>(verdict));
    writer.put(contract::Field::rule, std::string_view("SPAM"));
    if (!reason.empty()) writer.put(contract::Field::reason, reason);
    ASSERT_TRUE(dataplane->producers[0].write(writer.finish()));
  }
  json ask(const std::string& command, const json& arguments = json::object()) {
    auto answer = std::async(std::launch::async, [&] {
      auto client = ApiClient::connect(folder.path() / "c.sock", 20);
      if (!client) return json{{"error", client.error()}};
      if (auto s = client->send({{"command", command}, {"arguments", arguments}}); !s) {
        return json{{"error", s.error()}};
      }
      auto got = client->receive();
      return got ? *got : json{{"error", got.error()}};
    });
    until([&] { return answer.wait_for(std::chrono::seconds(0)) == std::future_status::ready; });
    return answer.get();
  }
  bool in_kernel(const std::string& host) {
    const std::lock_guard lock(kernel.mutex);
    return kernel.entries.contains(host);
  }
  const policy::HostRule* rule(const std::string& host) {
    return live ? live->host(*parse_address(host)) : nullptr;
  }
  std::vector<json> events(const std::string& type) {
    std::vector<json> found;
    std::ifstream file(folder.path() / "eve.json");
    for (std::string line; std::getline(file, line);) {
      const json event = json::parse(line, nullptr, false);
      EXPECT_TRUE(event.is_object()) << line;
      if (event.value("event_type", "") == type) found.push_back(event);
    }
    return found;
  }

  TemporaryFolder folder;
  KernelTable kernel;
  std::unique_ptr<FakeDataplane> dataplane;
  std::unique_ptr<EventLoop> loop;
  std::unique_ptr<Controller> controller;
  policy::Policy::Known known;
  std::shared_ptr<const policy::Policy> live;
  int adopted = 0;
  bool refuse = false;
  std::uint64_t flows = 0;
};

TEST_F(ControllerTest, ASpammerIsLimitedThenBlockedAndOthersAreNot) {
  dataplane = std::make_unique<FakeDataplane>(folder.path() / "dp.sock");
  start();
  ASSERT_TRUE(until([&] { return adopted > 0; }));
  message("10.0.0.1", contract::Verdict::reject);
  message("10.0.0.2", contract::Verdict::pass);
  message("10.0.0.1", contract::Verdict::reject);
  ASSERT_TRUE(until([&] { return rule("10.0.0.1") != nullptr; }));
  EXPECT_EQ(rule("10.0.0.1")->action, policy::HostAction::limit);
  EXPECT_FALSE(in_kernel("10.0.0.1"));
  // Refused because it is limited: no evidence.
  for (int i = 0; i < 5; ++i) message("10.0.0.1", contract::Verdict::tempfail, "host-limited");
  message("10.0.0.1", contract::Verdict::reject);
  ASSERT_TRUE(until([&] { return in_kernel("10.0.0.1"); }));
  ASSERT_TRUE(until([&] { return rule("10.0.0.1")->action == policy::HostAction::block; }));
  EXPECT_EQ(rule("10.0.0.2"), nullptr);
  EXPECT_GT(kernel.entries["10.0.0.1"].expires, monotonic_now() + 3500 * kSecond);

  const json why = ask("explain host", {{"what", "10.0.0.1"}});
  ASSERT_TRUE(why.value("ok", false)) << why;
  EXPECT_EQ(why["result"]["standing"]["standing"], "block");
  EXPECT_EQ(why["result"]["standing"]["condemned"], 3);
  EXPECT_EQ(why["result"]["treatment"]["source"], "detection");
  EXPECT_EQ(why["result"]["standing"]["evidence"].size(), 3u);
  const json hosts = ask("show hosts");
  EXPECT_EQ(hosts["result"]["hosts"][0]["host"], "10.0.0.1");
  EXPECT_EQ(hosts["result"]["acted_on"], 1);
  const json messages = ask("show messages", {{"from", "*@A.test"}, {"to", "r@*"}});
  EXPECT_EQ(messages["result"]["messages"].size(), 9u);
  EXPECT_TRUE(ask("show messages", {{"from", "*@c.test"}})["result"]["messages"].empty());

  // Dead and back: the block is where it was.
  stop();
  EXPECT_TRUE(in_kernel("10.0.0.1")) << "lives on while sluiced is dead";
  auto entity = events("entity");
  ASSERT_EQ(entity.size(), 2u);
  EXPECT_EQ(entity[0]["entity"]["action"], "limit");
  EXPECT_EQ(entity[1]["entity"]["action"], "block");
  EXPECT_EQ(entity[1]["entity"]["evidence"].size(), 3u);
  dataplane.reset();  // its socket goes with it, so before the next one is made
  dataplane = std::make_unique<FakeDataplane>(folder.path() / "dp.sock");
  live = nullptr;
  known = {};
  start();
  ASSERT_TRUE(until([&] { return rule("10.0.0.1") != nullptr; }));
  EXPECT_EQ(rule("10.0.0.1")->action, policy::HostAction::block);
  EXPECT_TRUE(in_kernel("10.0.0.1"));

  const json released = ask("host release", {{"prefix", "10.0.0.1"}, {"comment", "cleaned"}});
  ASSERT_TRUE(released.value("ok", false)) << released;
  ASSERT_TRUE(until([&] { return !in_kernel("10.0.0.1") && rule("10.0.0.1") == nullptr; }));
}

TEST_F(ControllerTest, MonitorModeOnlySays) {
  write_config(R"({"sluice:sluice":{"detection":{"limit-threshold":2,"block-threshold":3}}})");
  dataplane = std::make_unique<FakeDataplane>(folder.path() / "dp.sock");
  start();
  ASSERT_TRUE(until([&] { return adopted > 0; }));
  for (int i = 0; i < 5; ++i) message("10.0.0.1", contract::Verdict::reject);
  json would;
  ASSERT_TRUE(until([&] {
    would = ask("show would-have");
    return !would["result"]["hosts"].empty() &&
           would["result"]["hosts"][0]["would_have"] == "block";
  }));
  EXPECT_EQ(would["result"]["hosts"][0]["standing"], "clean");
  EXPECT_EQ(rule("10.0.0.1"), nullptr);
  const json ordered =
      ask("host order", {{"prefix", "10.0.0.9"}, {"action", "block"}, {"seconds", 60}});
  ASSERT_TRUE(ordered.value("ok", false)) << ordered;
  EXPECT_EQ(ordered["result"]["enforced"], false);
  EXPECT_FALSE(in_kernel("10.0.0.9"));
}

TEST_F(ControllerTest, OperatorsOrdersReachKernelImageAndAudit) {
  dataplane = std::make_unique<FakeDataplane>(folder.path() / "dp.sock");
  start();
  const json answer =
      ask("host order",
          {{"prefix", "192.0.2.0/24"}, {"action", "block"}, {"comment", "AB-99 \x1b[2J"}});
  ASSERT_TRUE(answer.value("ok", false)) << answer;
  // E02: an allow inside, added while the block is live.
  ask("host order", {{"prefix", "192.0.2.7"}, {"action", "allow"}});
  ASSERT_TRUE(until([&] { return in_kernel("192.0.2.7") && rule("192.0.2.7") != nullptr; }));
  ASSERT_TRUE(until([&] { return rule("192.0.2.7")->action == policy::HostAction::allow; }));
  EXPECT_EQ(rule("192.0.2.8")->action, policy::HostAction::block);
  EXPECT_TRUE(kernel.entries["192.0.2.7"].allow);
  ask("host release", {{"prefix", "192.0.2.7"}});
  ASSERT_TRUE(until([&] { return !in_kernel("192.0.2.7"); }));
  ASSERT_TRUE(until([&] { return rule("192.0.2.7")->action == policy::HostAction::block; }));

  const std::pair<json, const char*> bad[] = {
      {{{"prefix", "010.8.8.8"}, {"action", "block"}}, "octal"},
      {{{"prefix", "192.0.2.1"}, {"action", "destroy"}}, "no such action"},
      {{{"prefix", "0.0.0.0/0"}, {"action", "block"}}, "every address"},
      {{{"prefix", "192.0.2.1"}, {"action", "limit"}, {"rate", 0}}, "rate"},
      {{{"prefix", 7}, {"action", "block"}}, "malformed request"},
  };
  for (const auto& [arguments, reason] : bad) {
    const json refused = ask("host order", arguments);
    EXPECT_FALSE(refused.value("ok", true));
    EXPECT_NE(refused.value("error", "").find(reason), std::string::npos) << refused;
  }
  stop();
  const auto audit = events("audit");
  ASSERT_EQ(audit.size(), 3u);
  EXPECT_NE(audit[0]["audit"]["what"].get<std::string>().find("host block 192.0.2.0/24"),
            std::string::npos);
  EXPECT_EQ(audit[0]["audit"]["comment"], "AB-99 \x1b[2J")
      << "whole in JSON; escaped by who prints";
}

TEST_F(ControllerTest, ARefusedConfigurationLeavesEverythingAsItWas) {
  dataplane = std::make_unique<FakeDataplane>(folder.path() / "dp.sock");
  start();
  ASSERT_TRUE(until([&] { return adopted > 0; }));
  refuse = true;
  const std::string other = R"({"sluice:sluice":{"wire":[{"name":"w2"}]}})";
  json answer = ask("config load", {{"text", other}, {"name", "x.json"}});
  EXPECT_FALSE(answer.value("ok", true));
  EXPECT_NE(answer.value("error", "").find("test says no"), std::string::npos) << answer;
  refuse = false;
  EXPECT_EQ(ask("show config")["result"]["sluice:sluice"]["wire"][0]["name"], "w1");
  std::ifstream file(folder.path() / "sluice.json");
  const std::string on_disk{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(on_disk, enforcing());

  answer = ask("config load", {{"text", "{\"sluice:sluice\":{\"wire\":7}}"}, {"name", "y.json"}});
  EXPECT_FALSE(answer.value("ok", true));
  EXPECT_NE(answer.value("error", "").find("y.json"), std::string::npos) << answer;

  answer = ask("config load", {{"text", other}, {"name", "x.json"}, {"comment", "CHG-1"}});
  ASSERT_TRUE(answer.value("ok", false)) << answer;
  EXPECT_EQ(answer["result"]["dataplane"], "adopted");
  EXPECT_NE(live->wire("w2"), nullptr);
  const auto reread = load_configuration(folder.path() / "sluice.json");
  ASSERT_TRUE(reread) << reread.error();
  EXPECT_EQ(reread->wires[0].name, "w2");
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "sluice.json.new"));
}

TEST_F(ControllerTest, WithoutDataplaneAllButTheWireWorks) {
  start();
  json answer = ask("config load", {{"text", enforcing()}, {"name", "x.json"}});
  ASSERT_TRUE(answer.value("ok", false)) << answer;
  EXPECT_NE(answer["result"]["dataplane"].get<std::string>().find("absent"), std::string::npos);
  EXPECT_FALSE(ask("show flows").value("ok", true));
  ask("host order", {{"prefix", "10.9.9.9"}, {"action", "block"}});
  ASSERT_TRUE(until([&] { return in_kernel("10.9.9.9"); })) << "the kernel blocks by itself";
  const json test = ask("request self-test");
  EXPECT_EQ(test["result"]["good"], false);
  // It comes: gets what is wanted.
  dataplane = std::make_unique<FakeDataplane>(folder.path() / "dp.sock");
  ASSERT_TRUE(until([&] { return rule("10.9.9.9") != nullptr; }));
  const json flows_answer = ask("show flows");
  ASSERT_TRUE(flows_answer.value("ok", false)) << flows_answer;
  EXPECT_EQ(flows_answer["result"]["total"], 2);
  EXPECT_EQ(flows_answer["result"]["whole"], true);
  // The same dataplane, the connection broken: it still has our policy, none is sent.
  const int before = adopted;
  dataplane->client.reset();
  ASSERT_TRUE(until([&] { return static_cast<bool>(dataplane->client); }));
  ask("show version");
  EXPECT_GE(adopted, before);
}

TEST_F(ControllerTest, E07_ListsKeepTheirLastGoodContents) {
  const auto list = folder.path() / "drop.txt";
  std::ofstream(list) << "203.0.113.0/24\nnot a prefix\n";
  write_config(R"({"sluice:sluice":{"wire":[{"name":"w1","mode":"enforce"}],"prefix-list":[
    {"name":"drop","file":")" +
               list.string() + R"("}]}})");
  dataplane = std::make_unique<FakeDataplane>(folder.path() / "dp.sock");
  start();
  ASSERT_TRUE(until([&] { return rule("203.0.113.5") != nullptr && in_kernel("203.0.113.0/24"); }));
  std::filesystem::resize_file(list, 0);
  json answer = ask("rules load");
  ASSERT_TRUE(answer.value("ok", false)) << answer;
  EXPECT_TRUE(answer.value("partial", false));
  EXPECT_EQ(answer["result"]["lists"][0]["prefixes"], 1);
  EXPECT_TRUE(in_kernel("203.0.113.0/24"));
  std::ofstream(list) << "198.51.100.0/24\n";
  answer = ask("rules load");
  EXPECT_FALSE(answer.value("partial", false)) << answer;
  ASSERT_TRUE(until([&] { return in_kernel("198.51.100.0/24") && !in_kernel("203.0.113.0/24"); }));
}

TEST_F(ControllerTest, E14_HostileTextIsOneValidLine) {
  dataplane = std::make_unique<FakeDataplane>(folder.path() / "dp.sock");
  start();
  ASSERT_TRUE(until([&] { return adopted > 0; }));
  using namespace std::string_literals;  // it holds a NUL
  const std::string evil = "<\x1b]0;x\x07\"\r\n{}\xc0\xaf\xed\xa0\x80\xe4\xb8\0$(id)>"s;
  message("10.0.0.1", contract::Verdict::pass, {}, evil);
  ASSERT_TRUE(until([&] { return !ask("show messages")["result"]["messages"].empty(); }));
  stop();
  EXPECT_EQ(events("smtp").size(), 1u);  // each line was parsed by events()
}

TEST_F(ControllerTest, MonitorsGetWhatTheyAskFor) {
  dataplane = std::make_unique<FakeDataplane>(folder.path() / "dp.sock");
  start();
  ASSERT_TRUE(until([&] { return adopted > 0; }));
  std::promise<void> listening;
  auto heard = std::async(std::launch::async, [&] {
    auto client = ApiClient::connect(folder.path() / "c.sock", 20);
    static_cast<void>(client->send(
        {{"command", "monitor"},
         {"arguments", {{"filters", {{"event_type", "smtp"}, {"smtp.mail_from", "<b@*"}}}}}}));
    static_cast<void>(client->receive());
    listening.set_value();
    auto event = client->receive();
    return event ? (*event)["event"] : json{{"error", event.error()}};
  });
  auto ready = listening.get_future();
  ASSERT_TRUE(
      until([&] { return ready.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }));
  message("10.0.0.1", contract::Verdict::pass, {}, "<a@x.test>");
  message("10.0.0.1", contract::Verdict::pass, {}, "<b@x.test>");
  ASSERT_TRUE(
      until([&] { return heard.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }));
  const json event = heard.get();
  EXPECT_EQ(event["smtp"]["mail_from"], "<b@x.test>") << event;
}

TEST_F(ControllerTest, TwoOnOneSocketAndBrokenConfigurationsAreRefused) {
  start();
  EventLoop other_loop;
  ControllerOptions o;
  o.config = folder.path() / "sluice.json";
  o.socket = folder.path() / "c.sock";
  o.state = folder.path() / "state2";
  o.eve = folder.path() / "eve2.json";
  o.dataplane_socket = folder.path() / "none.sock";
  o.open_kernel_wire = [](const std::string&) -> Result<std::unique_ptr<KernelWire>> {
    return Error{"none"};
  };
  {
    Controller second(other_loop, o);
    const Status s = second.start();
    ASSERT_FALSE(s);
    EXPECT_NE(s.error().find("another process answers"), std::string::npos) << s.error();
  }
  write_config("{\"sluice:sluice\":{\"wire\":[{\"name\":\"w1\",\"mode\":\"off\"}]}}");
  o.socket = folder.path() / "c2.sock";
  Controller third(other_loop, o);
  const Status s = third.start();
  ASSERT_FALSE(s);
  EXPECT_NE(s.error().find("/sluice:sluice/wire[name='w1']/mode"), std::string::npos) << s.error();
}

TEST(Glob, Patterns) {
  EXPECT_TRUE(glob("*@cust.example", "a.b@CUST.example"));
  EXPECT_TRUE(glob("*", ""));
  EXPECT_TRUE(glob("a?c*", "abcdef"));
  EXPECT_FALSE(glob("a?c", "ac"));
  EXPECT_FALSE(glob("", "x"));
  EXPECT_FALSE(glob(std::string(2000, '*') + "b", std::string(20'000, 'a')));
}

}  // namespace
}  // namespace sluice::control
