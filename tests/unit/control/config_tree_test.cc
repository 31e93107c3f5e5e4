// The configuration as a tree: JSON in and out, edits by words, text, differences, merges.
#include "control/api/config_tree.h"

#include <gtest/gtest.h>

#include <functional>

#include "control/api/config.h"
#include "control/api/config_words.h"
#include "control/api/migrate.h"

namespace sluice::control {
namespace {

const Model& model() {
  static const auto instance = Model::create();
  if (!instance) ADD_FAILURE() << instance.error();
  return **instance;
}

std::vector<std::string> words(std::string_view line) {
  std::vector<std::string> out;
  for (const auto& w : split_line(line).words) out.push_back(w.text);
  return out;
}

// Makes the commands, each of which must be right.
ConfigTree tree_of(std::string_view commands) {
  ConfigTree tree(model());
  const Status s = apply_commands(tree, commands, "test");
  EXPECT_TRUE(s) << s.error();
  return tree;
}

constexpr std::string_view kCommands =
    "set wire w1 inside ens1f0 outside ens1f1 mode monitor failure open\n"
    "set inside prefix 203.0.113.0/24 role shared-web\n"
    "set mail port [ 25 587 ]\n"
    "set rules file /etc/b.rules\n"
    "set rules file /etc/a.rules\n"
    "set limits scan-budget 1048576\n"
    "set host 192.0.2.7 action block comment \"two words; and \\\"signs\\\"\"\n";

TEST(ConfigTree, JsonIsWhatLibyangReadsAndReadsBackTheSame) {
  ConfigTree tree = tree_of(kCommands);
  const auto parsed = parse_configuration(tree.json(), "made");
  ASSERT_TRUE(parsed) << parsed.error() << tree.json();
  EXPECT_EQ(parsed->wires.at(0).inside, "ens1f0");
  EXPECT_EQ(parsed->inside.at(0).role, Role::shared_web);
  EXPECT_EQ(parsed->mail_ports, (std::vector<std::uint16_t>{25, 587}));
  EXPECT_EQ(parsed->rule_files.at(0), "/etc/b.rules");
  EXPECT_EQ(parsed->scan_budget, 1'048'576u);
  EXPECT_EQ(parsed->hosts.at(0).comment, "two words; and \"signs\"");
  const auto again = ConfigTree::parse(model(), tree.json(), "again");
  ASSERT_TRUE(again) << again.error();
  EXPECT_TRUE(same(tree.root(), again->root()));
  EXPECT_EQ(again->json(), tree.json());
}

TEST(ConfigTree, SetTextMakesTheSameTree) {
  ConfigTree tree = tree_of(kCommands);
  ASSERT_TRUE(apply_commands(tree, "deactivate wire w1\ndeactivate mail port 25", "t"));
  const std::string text = set_text(tree.root());
  EXPECT_NE(text.find("deactivate wire w1\n"), std::string::npos) << text;
  EXPECT_TRUE(same(tree.root(), tree_of(text).root())) << text;
}

TEST(ConfigTree, BracesAreReadable) {
  EXPECT_EQ(brace_text(tree_of("set wire w1 mode enforce\nset mail port [ 25 587 ]\n"
                               "deactivate wire w1 mode")
                           .root()),
            "wire w1 {\n"
            "    inactive: mode enforce;\n"
            "}\n"
            "mail {\n"
            "    port [ 25 587 ];\n"
            "}\n");
}

TEST(ConfigTree, InactiveNodesCountAsAbsent) {
  ConfigTree tree = tree_of(
      "set wire w1 mode enforce\nset wire w2 mode enforce\n"
      "set mail port [ 25 587 ]\ndeactivate wire w1\ndeactivate mail port 25");
  const auto parsed = parse_configuration(tree.json(), "t");
  ASSERT_TRUE(parsed) << parsed.error() << tree.json();
  ASSERT_EQ(parsed->wires.size(), 1u);
  EXPECT_EQ(parsed->wires[0].name, "w2");
  EXPECT_EQ(parsed->mail_ports, (std::vector<std::uint16_t>{587}));
  // Written down and read again, they are still there.
  const auto again = ConfigTree::parse(model(), tree.json(), "again");
  ASSERT_TRUE(again) << again.error();
  EXPECT_TRUE(same(tree.root(), again->root())) << tree.json();
  EXPECT_FALSE(same(tree.root(), tree_of("set wire w1 mode enforce\nset wire w2 mode enforce\n"
                                         "set mail port [ 25 587 ]")
                                     .root()));
}

struct WrongWords {
  const char* line;
  const char* error;  // must stand in it
  std::size_t word;   // at fault
};
class WordFaults : public testing::TestWithParam<WrongWords> {};
TEST_P(WordFaults, PointAtTheWord) {
  const auto w = words(GetParam().line);
  const auto result = parse_config_words(model(), w, WordsUse::set);
  EXPECT_NE(result.error.find(GetParam().error), std::string::npos) << result.error;
  EXPECT_EQ(result.error_word, GetParam().word) << result.error;
}
const WrongWords kWrong[] = {
    {"wirr w1", "'wirr' is not known here", 0},
    {"wire w1 mode on", "expected monitor, enforce", 3},
    {"wire w1 mod", "needs a value: monitor | enforce", 3},
    {"wire", "wire needs a name", 1},
    {"wire w1 inside a mode monitor mode enforce", "stands twice", 6},
    {"detection window 5", "expected 10..86400 seconds", 2},
    {"detection window 86401", "expected 10..86400 seconds", 2},
    {"inside prefix 203.0.113.0/33", "is no prefix; expected <ip-prefix>", 2},
    {"inside prefix 010.8.8.8/32", "expected <ip-prefix>", 2},
    {"mail port [ 25", "']' is missing", 4},
    {"mail port [ ]", "a value is expected", 3},
    {"mail port 0", "1..65535", 2},
    {"mail", "more is needed behind 'mail'", 1},
    {"", "a path is expected", 0},
    {"e", "is ambiguous: exceptions, events", 0},
    {"wire w1 mode monitor limit 3", "is not known here", 4},
    {"detection window 60 limit rate 3", "cannot follow a value", 3},
};
INSTANTIATE_TEST_SUITE_P(Each, WordFaults, testing::ValuesIn(kWrong));

TEST(ConfigWords, AbbreviationsAndAddressesAreWrittenOut) {
  const auto w = words("ho 192.0.2.7 act blo");
  const auto result = parse_config_words(model(), w, WordsUse::set);
  ASSERT_EQ(result.error, "");
  EXPECT_EQ(result.full, words("host 192.0.2.7/32 action block"));
  const auto v6 =
      parse_config_words(model(), words("host 2001:DB8::1 action allow"), WordsUse::set);
  ASSERT_EQ(v6.error, "");
  EXPECT_EQ(v6.full.at(1), "2001:db8::1/128");
}

std::vector<std::string> next(std::string_view line, WordsUse use,
                              const ConfigTree* tree = nullptr) {
  std::vector<std::string> out;
  const auto w = words(line);
  for (const auto& n : next_config_words(model(), tree, w, use).words) out.push_back(n.text);
  return out;
}

TEST(ConfigWords, WhatMayComeNext) {
  const auto top = next("", WordsUse::set);
  EXPECT_NE(std::find(top.begin(), top.end(), "wire"), top.end());
  EXPECT_EQ(next("wire w1 mode", WordsUse::set), (std::vector<std::string>{"monitor", "enforce"}));
  EXPECT_EQ(next("detection window", WordsUse::set),
            (std::vector<std::string>{"<10..86400 seconds>"}));
  const ConfigTree tree = tree_of("set wire west mode enforce\nset wire east mode monitor");
  EXPECT_EQ(next("wire", WordsUse::remove, &tree),
            (std::vector<std::string>{"west", "east", "<name>"}));
  const auto after = next("wire w1 mode monitor", WordsUse::set);
  EXPECT_EQ(std::find(after.begin(), after.end(), "mode"), after.end());
  EXPECT_NE(std::find(after.begin(), after.end(), "failure"), after.end());
  EXPECT_EQ(next("wire w1", WordsUse::edit), std::vector<std::string>{});
}

TEST(ConfigTree, DeleteTakesWhatIsNamedAndEmptyContainersWithIt) {
  ConfigTree tree = tree_of(kCommands);
  const auto edit = [&](const char* operation, const char* line) {
    const auto w = words(line);
    return edit_tree(tree, operation, w).error;
  };
  EXPECT_EQ(edit("delete", "mail port 25"), "");
  EXPECT_EQ(edit("delete", "mail port 25"), "there is nothing at this path");
  EXPECT_EQ(edit("delete", "mail port"), "");
  EXPECT_EQ(edit("delete", "mail"), "there is nothing at this path");
  EXPECT_EQ(edit("delete", "wire w1 mode enforce"), "there is nothing at this path");
  EXPECT_EQ(edit("delete", "wire w1 mode monitor"), "");
  EXPECT_EQ(edit("delete", "wire w9"), "there is nothing at this path");
  EXPECT_EQ(edit("delete", "wire"), "");
  EXPECT_EQ(edit("delete", ""), "");
  EXPECT_EQ(tree.json(), "{}\n");
}

TEST(ConfigTree, DifferencesAreGrouped) {
  const ConfigTree before = tree_of(
      "set wire w1 mode monitor\nset mail port 25\n"
      "set rules file /a\nset rules file /b\nset wire w2");
  ConfigTree after = before;
  EXPECT_EQ(difference(before.root(), after.root()), "");
  ASSERT_TRUE(apply_commands(after,
                             "set wire w1 mode enforce\ndelete rules file /a\nset rules file /a\n"
                             "set host 192.0.2.1 action block\ndeactivate wire w2",
                             "t"));
  EXPECT_EQ(difference(before.root(), after.root()),
            "[edit]\n"
            "!  deactivated: wire w2\n"
            "+  host 192.0.2.1/32 {\n"
            "+      action block;\n"
            "+  }\n"
            "[edit wire w1]\n"
            "-  mode monitor;\n"
            "+  mode enforce;\n"
            "[edit rules]\n"
            "-  file /a;\n"
            "-  file /b;\n"
            "+  file /b;\n"
            "+  file /a;\n");
}

TEST(ConfigTree, MergesWhatTwoChanged) {
  const ConfigTree base = tree_of(
      "set wire w1 mode monitor failure open\nset mail port [ 25 587 ]\n"
      "set host 192.0.2.1 action block\nset host 192.0.2.2 action block");
  ConfigTree mine = base;
  ConfigTree theirs = base;
  ASSERT_TRUE(apply_commands(
      mine, "set wire w1 mode enforce\ndelete host 192.0.2.1\nset mail port 26", "t"));
  ASSERT_TRUE(apply_commands(theirs,
                             "set wire w1 failure closed\ndelete mail port 587\n"
                             "set inside prefix 203.0.113.0/24",
                             "t"));
  const MergeResult both = merge_changes(base, mine, theirs);
  EXPECT_TRUE(both.conflicts.empty()) << both.conflicts.front();
  EXPECT_TRUE(same(both.tree.root(),
                   tree_of("set wire w1 mode enforce failure closed\nset mail port [ 25 26 ]\n"
                           "set inside prefix 203.0.113.0/24\nset host 192.0.2.2 action block")
                       .root()))
      << brace_text(both.tree.root());

  ASSERT_TRUE(apply_commands(theirs,
                             "set host 192.0.2.1 action limit\nset wire w1 mode enforce\n"
                             "delete host 192.0.2.2",
                             "t"));
  ASSERT_TRUE(apply_commands(mine, "set host 192.0.2.2 action allow", "t"));
  const MergeResult conflict = merge_changes(base, mine, theirs);
  // Both set the mode to the same: no conflict.
  EXPECT_EQ(conflict.conflicts,
            (std::vector<std::string>{"host 192.0.2.1/32", "host 192.0.2.2/32"}));
  EXPECT_EQ(brace_text(*conflict.tree.root().find(*model().root().child("host"), "192.0.2.2/32")),
            "action allow;\n");
}

struct WrongJson {
  const char* text;
  const char* error;
};
class JsonFaults : public testing::TestWithParam<WrongJson> {};
TEST_P(JsonFaults, SayWhere) {
  const auto tree = ConfigTree::parse(model(), GetParam().text, "t");
  ASSERT_FALSE(tree);
  EXPECT_NE(tree.error().find(GetParam().error), std::string::npos) << tree.error();
}
const WrongJson kWrongJson[] = {
    {"{\n\"sluice:sluice\":{\n,}}", "t:3: not valid JSON"},
    {"[]", "not a JSON object"},
    {R"({"sluice:sluice":{"wire":[{"name":"a"}],"mail":{"port":[25],"port":[26]},"wire":[]}})",
     "t: /sluice:sluice/mail/port: stands twice"},
    {R"({"sluice:sluice":{"detection":{"window":1e999}}})",
     "t: /sluice:sluice/detection/window: a number that is too large"},
    {R"({"other:x":{}})", "/other:x: is not known"},
    {R"({"sluice:sluice":[]})", "/sluice:sluice: is not an object"},
    {R"({"sluice:sluice":{"wirr":[]}})", "'wirr' is not known here"},
    {R"({"sluice:sluice":{"wire":{}}})", "/sluice:sluice/wire: is a list"},
    {R"({"sluice:sluice":{"wire":[{"mode":"monitor"}]}})", "without 'name'"},
    {R"({"sluice:sluice":{"wire":[{"name":"a"},{"name":"a"}]}})", "'a' stands twice"},
    {R"({"sluice:sluice":{"mail":{"port":["25"]}}})", "a number without quotes"},
    {R"({"sluice:sluice":{"mail":{"port":[25,25]}}})", "'25' stands twice"},
    {R"({"sluice:sluice":{"limits":{"scan-budget":70000}}})", "a text in quotes"},
    {R"({"sluice:sluice":{"mail":{"@port":[null]}}})", "belongs to nothing"},
};
INSTANTIATE_TEST_SUITE_P(Each, JsonFaults, testing::ValuesIn(kWrongJson));

TEST(Migration, Version1IsBroughtUp) {
  const std::string old =
      R"({"sluice:sluice":{"detection":{"window":60,"ipv6-prefix-length":56,
          "ipv6-single-host":["2001:db8:1::/48"]},"scan":{"budget":"65536"}}})";
  const auto migrated = migrate(old, "old");
  ASSERT_TRUE(migrated) << migrated.error();
  EXPECT_EQ(migrated->notes.size(), 3u);
  const auto parsed = parse_configuration(old, "old");
  ASSERT_TRUE(parsed) << parsed.error();
  EXPECT_EQ(parsed->detection.window, 60u);
  EXPECT_EQ(parsed->detection.ipv6_prefix_length, 56);
  EXPECT_EQ(parsed->scan_budget, 65536u);
  const auto stored = stored_configuration(old, "old");
  ASSERT_TRUE(stored) << stored.error();
  EXPECT_NE(stored->find("\"model-version\": 2"), std::string::npos) << *stored;
  // What says that it is of this version is not touched, and then wrong.
  const auto wrong = parse_configuration(
      R"({"sluice:sluice":{"model-version":2,"scan":{"budget":"65536"}}})", "t");
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().find("scan"), std::string::npos) << wrong.error();
  // Both the old and the new place: not guessed at.
  EXPECT_FALSE(parse_configuration(
      R"({"sluice:sluice":{"scan":{"budget":"65536"},"limits":{"scan-budget":"0"}}})", "t"));
}

TEST(ConfigTree, ManyEntriesAreFoundByKey) {
  std::string text = "{\"sluice:sluice\":{\"host\":[";
  constexpr int kEntries = 20'000;
  for (int i = 0; i < kEntries; ++i) {
    if (i != 0) text += ',';
    text += "{\"prefix\":\"10." + std::to_string(i / 65536) + "." + std::to_string(i / 256 % 256) +
            "." + std::to_string(i % 256) + "/32\",\"action\":\"block\"}";
  }
  text += "]}}";
  const auto tree = ConfigTree::parse(model(), text, "t");
  ASSERT_TRUE(tree) << tree.error();
  const auto path = words("host 10.0.78.31");
  const auto found = parse_config_words(model(), path, WordsUse::show);
  ASSERT_EQ(found.error, "");
  EXPECT_NE(node_at(*tree, found.targets.front()), nullptr);
  EXPECT_EQ(tree->root().group(*model().root().child("host"))->nodes().size(),
            std::size_t{kEntries});
}

TEST(Model, EveryLeafIsDescribed) {
  const std::function<void(const SchemaNode&)> check = [&](const SchemaNode& n) {
    EXPECT_FALSE(n.description.empty()) << n.path();
    if (n.kind == SchemaNode::Kind::leaf && !n.is_key && !n.mandatory) {
      // Absent means something that the description says.
      EXPECT_TRUE(!n.defaults.empty() || n.description.find("Absent") != std::string::npos ||
                  n.parent->name == "wire" || n.parent->name == "http")
          << n.path();
    }
    for (const auto& choice : n.choices) {
      if (n.form != SchemaNode::Form::boolean) {
        EXPECT_FALSE(choice.description.empty()) << n.path() << " " << choice.name;
      }
    }
    for (const auto& c : n.children) check(*c);
  };
  check(model().root());
}

}  // namespace
}  // namespace sluice::control
