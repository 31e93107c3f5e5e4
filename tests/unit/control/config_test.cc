// The configuration: what is read, and that each kind of fault is refused with its place.
#include "control/api/config.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "control/identity/prefix.h"

namespace sluice::control {
namespace {

std::string wrap(const std::string& inner) { return "{\"sluice:sluice\": {\n" + inner + "\n}}"; }

TEST(Config, EmptyIsAWorkingConfiguration) {
  const auto c = parse_configuration("{}", "empty");
  ASSERT_TRUE(c) << c.error();
  ASSERT_EQ(c->wires.size(), 1u);
  EXPECT_EQ(c->wires[0].name, "w1");
  EXPECT_EQ(c->wires[0].mode, policy::Mode::monitor);
  EXPECT_EQ(c->wires[0].failure, policy::Exception::fail_open);
  EXPECT_EQ(c->mail_ports, (std::vector<std::uint16_t>{25, 465, 587, 2525}));
  ASSERT_EQ(c->groups.size(), 1u);
  EXPECT_EQ(c->groups[0].group.name, "default");
  EXPECT_EQ(c->groups[0].group.reject_score, INT32_MAX);
  EXPECT_EQ(c->detection.window, 600u);
  EXPECT_EQ(c->detection.limit_threshold, 3u);
  EXPECT_EQ(c->detection.block_threshold, 10u);
  EXPECT_DOUBLE_EQ(c->detection.maximum_share, 5.0);
  EXPECT_TRUE(c->hash_attachments);
  EXPECT_FALSE(c->hash_messages);
  EXPECT_EQ(c->texts.rejected, policy::Texts{}.rejected);
  EXPECT_EQ(c->texts.closing, policy::Texts{}.closing);
}

// The defaults of the structures and those of the model are written down twice; they must agree.
TEST(Config, StructDefaultsAreThoseOfTheModel) {
  const auto c = parse_configuration("{}", "empty");
  ASSERT_TRUE(c) << c.error();
  const DetectionConfig d;
  EXPECT_EQ(c->detection.limit_rate, d.limit_rate);
  EXPECT_EQ(c->detection.limit_burst, d.limit_burst);
  EXPECT_EQ(c->detection.limit_duration, d.limit_duration);
  EXPECT_EQ(c->detection.block_duration, d.block_duration);
  EXPECT_EQ(c->detection.block_action, d.block_action);
  EXPECT_EQ(c->detection.step_down, d.step_down);
  EXPECT_EQ(c->detection.minimum_acted_on, d.minimum_acted_on);
  EXPECT_EQ(c->detection.ipv6_prefix_length, d.ipv6_prefix_length);
  EXPECT_EQ(c->detection.maximum_hosts, d.maximum_hosts);
  const EventsConfig e;
  EXPECT_EQ(c->events.file, e.file);
  EXPECT_EQ(c->events.rotate_size, e.rotate_size);
  EXPECT_EQ(c->events.rotate_keep, e.rotate_keep);
  EXPECT_EQ(c->events.queue, e.queue);
  EXPECT_EQ(c->events.recent, e.recent);
  EXPECT_EQ(c->events.statistics_interval, e.statistics_interval);
  EXPECT_EQ(c->api_socket, Configuration{}.api_socket);
}

TEST(Config, EverythingIsRead) {
  const auto c = parse_configuration(wrap(R"(
    "wire": [{"name":"w1","inside":"ens1f0","outside":"ens1f1","mode":"enforce","failure":"closed"},
             {"name":"w2","inside":"ens2f0","outside":"ens2f1"}],
    "inside": {"prefix":[{"prefix":"203.0.113.0/24","role":"shared-web"},
                         {"prefix":"2001:db8::/32"}]},
    "mail": {"port":[25,2525]},
    "rules": {"file":["/etc/sluice/b.rules","/etc/sluice/a.rules"]},
    "policy": {"group":[{"name":"vip","member":["192.0.2.0/25"],"tag-score":"2.5",
                         "tempfail-score":"7.25","reject-score":"10.0","rule-drop":"reset"},
                        {"name":"default","reject-score":"15.00"}]},
    "exceptions": {"smuggling":"closed"},
    "detection": {"window":60,"limit-threshold":2,"block-threshold":4,"maximum-share":"2.50",
                  "limit":{"rate":7,"burst":3,"duration":90},
                  "block":{"duration":120,"action":"drop","step-down":false},
                  "ipv6-single-host":["2001:db8:1::/48"]},
    "host": [{"prefix":"192.0.2.77/24","action":"limit","rate":5,"comment":"AB-99"}],
    "prefix-list": [{"name":"drop","file":"/etc/sluice/drop.txt"}],
    "texts": {"rejected":"No"},
    "hashing": {"messages":true,"md5":true,"attachments":false},
    "scan": {"budget":"1048576"},
    "events": {"file":"/tmp/e.json","sensor-name":"box-1","rotate-size":"65536","queue":16}
  )"),
                                     "full");
  ASSERT_TRUE(c) << c.error();
  ASSERT_EQ(c->wires.size(), 2u);
  EXPECT_EQ(c->wires[0].mode, policy::Mode::enforce);
  EXPECT_EQ(c->wires[0].failure, policy::Exception::fail_closed);
  EXPECT_EQ(c->wires[1].inside, "ens2f0");
  ASSERT_EQ(c->inside.size(), 2u);
  EXPECT_EQ(to_text(c->inside[0].prefix), "203.0.113.0/24");
  EXPECT_EQ(c->inside[0].prefix.length, 120);
  EXPECT_EQ(c->inside[0].role, Role::shared_web);
  EXPECT_EQ(c->mail_ports, (std::vector<std::uint16_t>{25, 2525}));
  ASSERT_EQ(c->rule_files.size(), 2u);
  EXPECT_EQ(c->rule_files[0], "/etc/sluice/b.rules");  // the operator's order
  ASSERT_EQ(c->groups.size(), 2u);
  EXPECT_EQ(c->groups[0].group.name, "default");
  EXPECT_EQ(c->groups[0].group.reject_score, 1500);
  EXPECT_EQ(c->groups[1].group.tag_score, 250);
  EXPECT_EQ(c->groups[1].group.tempfail_score, 725);
  EXPECT_EQ(c->groups[1].group.rule_drop, contract::Verdict::reset);
  EXPECT_EQ(to_text(c->groups[1].members.at(0)), "192.0.2.0/25");
  EXPECT_EQ(c->exceptions.smuggling, policy::Exception::fail_closed);
  EXPECT_EQ(c->exceptions.overlap, policy::Exception::fail_open);
  EXPECT_EQ(c->detection.limit_rate, 7u);
  EXPECT_EQ(c->detection.block_action, BlockAction::drop);
  EXPECT_FALSE(c->detection.step_down);
  EXPECT_DOUBLE_EQ(c->detection.maximum_share, 2.5);
  ASSERT_EQ(c->hosts.size(), 1u);
  EXPECT_EQ(to_text(c->hosts[0].prefix), "192.0.2.0/24");  // host bits masked (E03)
  EXPECT_EQ(c->hosts[0].rate_per_hour, 5u);
  EXPECT_EQ(c->prefix_lists.at(0).action, policy::HostAction::block);
  EXPECT_EQ(c->scan_budget, 1048576u);
  EXPECT_TRUE(c->hash_md5);

  policy::HostRule operators;
  operators.prefix = c->hosts[0].prefix.address;
  operators.length = c->hosts[0].prefix.length;
  operators.action = policy::HostAction::allow;
  const PolicySpec spec = policy_spec(*c, 9, {operators});
  EXPECT_EQ(spec.epoch, 9u);
  ASSERT_EQ(spec.hosts.size(), 1u);  // one prefix, one order: the later one
  EXPECT_EQ(spec.hosts[0].action, policy::HostAction::allow);
  EXPECT_EQ(spec.wires.at(0).mode, policy::Mode::enforce);
  EXPECT_EQ(spec.texts.rejected, "No");
}

struct Fault {
  const char* name;
  std::string text;
  const char* path;    // must stand in the error
  const char* reason;  // must stand in the error
};

class ConfigFaults : public testing::TestWithParam<Fault> {};

TEST_P(ConfigFaults, AreRefusedWithTheirPlace) {
  const auto c = parse_configuration(GetParam().text, "t.json");
  ASSERT_FALSE(c);
  EXPECT_NE(c.error().find("t.json"), std::string::npos) << c.error();
  EXPECT_NE(c.error().find(GetParam().path), std::string::npos) << c.error();
  EXPECT_NE(c.error().find(GetParam().reason), std::string::npos) << c.error();
}

const Fault kFaults[] = {
    {"syntax", "{\"sluice:sluice\": {\n\n \"wire\" [] }}", "t.json:3", ""},
    {"cut_short", "{\"sluice:sluice\": {", "t.json:1", ""},
    {"empty_text", " \n", "t.json", "empty"},
    {"nul", std::string("{}\0", 3), "t.json", "NUL"},
    {"other_module", R"({"other:thing": {}})", "t.json", "other"},
    {"no_module", R"({"sluice": {}})", "t.json", ""},
    {"unknown_leaf", wrap(R"("wire":[{"name":"w1","colour":"red"}])"),
     "/sluice:sluice/wire[name='w1']", "colour"},
    {"wrong_mode", wrap(R"("wire":[{"name":"w1",
 "mode":"monitr"}])"),
     "t.json:3: /sluice:sluice/wire[name='w1']/mode", "monitr"},
    {"bad_wire_name", wrap(R"("wire":[{"name":"-w/1"}])"), "/sluice:sluice/wire/name", "-w/1"},
    {"missing_key", wrap(R"("wire":[{"mode":"monitor"}])"), "/sluice:sluice/wire", "name"},
    {"same_port_twice", wrap(R"("wire":[{"name":"w1","inside":"a","outside":"a"}])"),
     "/sluice:sluice/wire[name='w1']", "must differ"},
    {"one_port", wrap(R"("wire":[{"name":"w1","inside":"a"}])"), "/sluice:sluice/wire[name='w1']",
     "both of its ports"},
    {"port_of_two_wires",
     wrap(
         R"("wire":[{"name":"w1","inside":"a","outside":"b"},{"name":"w2","inside":"c","outside":"a"}])"),
     "/sluice:sluice/wire[name='w", "one wire only"},
    {"duplicate_wire", wrap(R"("wire":[{"name":"w1"},{"name":"w1"}])"), "/sluice:sluice/wire",
     "w1"},
    {"bad_prefix", wrap(R"("inside":{"prefix":[{"prefix":"192.0.2.0/33"}]})"),
     "/sluice:sluice/inside/prefix", "192.0.2.0/33"},
    {"octal_prefix", wrap(R"("host":[{"prefix":"010.8.8.8/32","action":"block"}])"),
     "/sluice:sluice/host", "010.8.8.8"},
    {"unknown_role", wrap(R"("inside":{"prefix":[{"prefix":"192.0.2.0/24","role":"king"}]})"),
     "/role", "king"},
    {"port_range", wrap(R"("mail":{"port":[0]})"), "/sluice:sluice/mail/port", "0"},
    {"port_type", wrap(R"("mail":{"port":["25"]})"), "/sluice:sluice/mail/port", ""},
    {"relative_rule_path", wrap(R"("rules":{"file":["a.rules"]})"), "/sluice:sluice/rules/file",
     "a.rules"},
    {"score_precision", wrap(R"("policy":{"group":[{"name":"default","reject-score":"1.234"}]})"),
     "/reject-score", "1.234"},
    {"default_with_members",
     wrap(R"("policy":{"group":[{"name":"default","member":["192.0.2.0/24"]}]})"),
     "/sluice:sluice/policy/group[name='default']", "no other group names"},
    {"group_without_members", wrap(R"("policy":{"group":[{"name":"g"}]})"),
     "/sluice:sluice/policy/group[name='g']", "at least one member"},
    {"scores_out_of_order",
     wrap(R"("policy":{"group":[{"name":"default","tag-score":"9.0","reject-score":"5.0"}]})"),
     "/sluice:sluice/policy/group[name='default']", "tag-score"},
    {"one_hit_blocks", wrap(R"("detection":{"block-threshold":1})"),
     "/sluice:sluice/detection/block-threshold", "1"},
    {"block_not_above_limit", wrap(R"("detection":{"limit-threshold":5,"block-threshold":5})"),
     "/sluice:sluice/detection", "above limit-threshold"},
    {"share_over_hundred", wrap(R"("detection":{"maximum-share":"100.01"})"),
     "/sluice:sluice/detection/maximum-share", "100.01"},
    {"host_without_action", wrap(R"("host":[{"prefix":"192.0.2.1/32"}])"), "/sluice:sluice/host",
     "action"},
    {"everything_without_force", wrap(R"("host":[{"prefix":"0.0.0.0/0","action":"block"}])"),
     "/sluice:sluice/host", "force"},
    {"text_with_newline", wrap(R"("texts":{"rejected":"a\r\n250 ok"})"),
     "/sluice:sluice/texts/rejected", ""},
    {"newer_model", wrap(R"("model-version":3)"), "/sluice:sluice/model-version", "version 3"},
    {"socket_too_long", wrap("\"api\":{\"socket\":\"/" + std::string(107, 's') + "\"}"),
     "/sluice:sluice/api/socket", ""},
};
INSTANTIATE_TEST_SUITE_P(Each, ConfigFaults, testing::ValuesIn(kFaults),
                         [](const auto& i) { return std::string(i.param.name); });

TEST(Config, TheHttpApiIsOffTheWireAndNeverOpen) {
  const std::string digest(64, 'a');
  const std::string good = R"("wire":[{"name":"w1","inside":"a0","outside":"a1"}],
    "access":{"group":[{"name":"noc","role":"operator"}],"user":[{"name":"eve","role":"viewer"}]},
    "api":{"http":{"enabled":true,"interface":"eth0","address":"192.0.2.9","port":443,
      "certificate":"/c.pem","private-key":"/k.pem",
      "token":[{"name":"ci","sha256":")" +
                           digest + R"(","role":"admin",
                "expires":"2027-01-01T00:00:00Z"}]}})";
  const auto c = parse_configuration(wrap(good), "t");
  ASSERT_TRUE(c) << c.error();
  EXPECT_EQ(c->http.address, "192.0.2.9");
  EXPECT_EQ(c->http.tokens.at(0).role, Access::admin);
  EXPECT_EQ(c->access.groups.at(0).second, Access::operate);
  EXPECT_EQ(c->access.users.at(0).first, "eve");
  const auto broken = [&](const std::string& what, const std::string& by, const char* reason) {
    std::string text = good;
    text.replace(text.find(what), what.size(), by);
    const auto r = parse_configuration(wrap(text), "t");
    ASSERT_FALSE(r) << what;
    EXPECT_NE(r.error().find(reason), std::string::npos) << r.error();
  };
  broken("eth0", "a1", "a port of a wire");
  broken("\"interface\":\"eth0\",", "", "needs the management interface");
  broken("\"certificate\":\"/c.pem\",", "", "TLS only");
  broken(digest, "secret", "sha256");
  broken("\"token\"", "\"token\":[],\"x\"", "x");
}

TEST(Config, FileFaultsSayTheFile) {
  const auto missing = load_configuration("/nonexistent/sluice.json");
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().find("/nonexistent/sluice.json: No such file"), std::string::npos)
      << missing.error();
  const auto folder = load_configuration("/tmp");
  ASSERT_FALSE(folder);
  EXPECT_NE(folder.error().find("/tmp: Is a directory"), std::string::npos) << folder.error();
}

TEST(Config, ForceAcceptsTheWholeAddressSpace) {
  EXPECT_TRUE(parse_configuration(
      wrap(R"("host":[{"prefix":"0.0.0.0/0","action":"limit","force":true}])"), "t"));
}

TEST(Config, CanonicalTextReadsBackTheSame) {
  const std::string text = wrap(R"("wire":[{"name":"w9","mode":"enforce"}])");
  const auto with = canonical_configuration(text, "t", true);
  ASSERT_TRUE(with) << with.error();
  EXPECT_NE(with->find("\"limit-threshold\": 3"), std::string::npos) << *with;
  const auto again = parse_configuration(*with, "again");
  ASSERT_TRUE(again) << again.error();
  EXPECT_EQ(again->wires.at(0).name, "w9");
  const auto without = canonical_configuration(text, "t", false);
  ASSERT_TRUE(without);
  EXPECT_EQ(without->find("limit-threshold"), std::string::npos) << *without;
}

}  // namespace
}  // namespace sluice::control
