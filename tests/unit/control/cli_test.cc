#include <gtest/gtest.h>

#include "control/cli/commands.h"
#include "control/cli/render.h"
#include "control/cli/text.h"

namespace sluice::control {
namespace {

using nlohmann::json;

TEST(Terminal, E14_NothingThatMovesTheCursor) {
  EXPECT_EQ(for_terminal("a\x1b[2Jb"), "a\\x1b[2Jb");
  EXPECT_EQ(for_terminal("a\r\nb\tc\x7f"), "a\\x0d\\x0ab\\x09c\\x7f");
  EXPECT_EQ(for_terminal("\xc2\x9b"), "\\u{9b}");        // CSI as C1
  EXPECT_EQ(for_terminal("\xe2\x80\xae"), "\\u{202e}");  // right-to-left override
  EXPECT_EQ(for_terminal("\xc0\xaf\xed\xa0\x80\xe4\xb8"), "\\xc0\\xaf\\xed\\xa0\\x80\\xe4\\xb8");
  EXPECT_EQ(for_terminal("Z\xc3\xbcrich"), "Z\xc3\xbcrich");
}

TEST(Terminal, HostileEventsAreShownHarmless) {
  const std::string evil = "\x1b]0;owned\x07\r\nroot# ";
  const json smtp = {{"event_type", "smtp"},
                     {"timestamp", "2026-11-25T18:41:34.123456+0000"},
                     {"src_ip", evil},
                     {"smtp", {{"mail_from", evil}, {"rcpt_to", {evil, evil}}}},
                     {"sluice", {{"verdict", evil}, {"rules", {evil}}}}};
  const json results[] = {
      {{"events", {{{"id", 1}, {"event", smtp}}}}},
      {{"messages",
        {{{"event", 1},
          {"mail_from", evil},
          {"rcpt_to", {evil}},
          {"src_ip", evil},
          {"outcome", evil},
          {"verdict", evil}}}}},
      {{"hosts", {{{"host", evil}, {"wire", evil}}}},
       {"orders", {{{"prefix", evil}, {"comment", evil}, {"who", evil}}}},
       {"lists", json::array()}},
      {{"prefix", evil}, {"action", evil}, {"monitor_wires", {evil}}, {"enforced", true}},
      {{"id", 1},
       {"event", smtp},
       {"rules", {{{"name", evil}, {"message", evil}}}},
       {"treatment_now", {{"action", evil}, {"source", evil}}}},
  };
  const Render renders[] = {render_events, render_messages, render_hosts, render_order,
                            render_explain_events};
  for (std::size_t i = 0; i < std::size(renders); ++i) {
    const std::string out = renders[i](results[i], {});
    EXPECT_FALSE(out.empty());
    for (const char c : out) {
      EXPECT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= 0x20) << i << ": " << out;
    }
    EXPECT_EQ(out.find("\nroot#"), std::string::npos) << i << ": " << out;
  }
}

TEST(Render, WrongTypesAreNoFault) {
  const json nonsense[] = {json(),
                           json(7),
                           json("x"),
                           json::array({1, "a"}),
                           {{"hosts", 7},
                            {"events", "x"},
                            {"flows", {1, 2}},
                            {"stats", 3},
                            {"kernel", 1},
                            {"visibility", 2},
                            {"standing", {}}}};
  for (const json& j : nonsense) {
    for (const Command& c : commands()) {
      if (c.render == nullptr) continue;
      EXPECT_NO_THROW(c.render(j, {})) << c.words;
    }
  }
}

TEST(TableText, FitsItsWidth) {
  Table t({{"NAME", false, true}, {"N", true}, {"TEXT", false, true}});
  t.add({std::string(100, 'a'), "12", std::string(200, 'b')});
  t.add({"\xe6\x97\xa5\xe6\x9c\xac", "3", ""});
  const std::string out = t.text(80);
  std::size_t begin = 0;
  while (begin < out.size()) {
    const std::size_t end = out.find('\n', begin);
    EXPECT_LE(display_width(out.substr(begin, end - begin)), 80u);
    begin = end + 1;
  }
  EXPECT_NE(out.find("~"), std::string::npos);
}

TEST(Text, Durations) {
  const std::pair<const char*, std::uint64_t> good[] = {
      {"30s", 30}, {"10m", 600}, {"1h", 3600}, {"2d", 172'800}, {"1h30m", 5400}, {"90", 90}};
  for (const auto& [text, seconds] : good) EXPECT_EQ(*parse_duration(text), seconds) << text;
  for (const char* bad : {"", "0", "0s", "-1h", "1x", "h", "1h30", "30m1h", "1.5h", "1h1h",
                          "99999999999d", "4000d", " 1h"}) {
    EXPECT_FALSE(parse_duration(bad)) << bad;
  }
  EXPECT_EQ(duration_text(5400), "1h30m");
  EXPECT_EQ(duration_text(59), "59s");
  EXPECT_EQ(duration_text(90'061), "1d1h");
}

TEST(Text, Rates) {
  EXPECT_EQ(*parse_rate("20/h"), 20u);
  EXPECT_EQ(*parse_rate("20"), 20u);
  EXPECT_EQ(*parse_rate("1/m"), 60u);
  EXPECT_EQ(*parse_rate("100/d"), 5u);
  for (const char* bad : {"", "0", "/h", "x/h", "1/y", "-1", "9999999"}) {
    EXPECT_FALSE(parse_rate(bad)) << bad;
  }
}

const Command& command(std::string_view words) {
  for (const Command& c : commands()) {
    if (c.words == words) return c;
  }
  std::abort();
}

TEST(Commands, WordsStandForOptions) {
  using Words = std::vector<std::string>;
  EXPECT_EQ(words_to_options(command("show messages"),
                             {"from", "*@cust.example", "to", "*@gmail.com", "last", "2h"}),
            (Words{"--from", "*@cust.example", "--to", "*@gmail.com", "--last", "2h"}));
  EXPECT_EQ(words_to_options(command("host limit"),
                             {"192.0.2.1", "for", "2h", "comment", "for", "--rate", "rate"}),
            (Words{"192.0.2.1", "--for", "2h", "--comment", "for", "--rate", "rate"}));
  EXPECT_EQ(words_to_options(command("show wire"), {"last", "visibility", "last", "15m"}),
            (Words{"last", "visibility", "--last", "15m"}));
}

TEST(Commands, ArgumentsAreChecked) {
  const Argument address{"ADDR", "what", ArgumentKind::address, false, true, ""};
  EXPECT_EQ(*argument_value(address, {"::ffff:192.0.2.1"}), "192.0.2.1");
  const auto bad = argument_value(address, {"010.1.1.1\x1b"});
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().find('\x1b'), std::string::npos);
  const Argument filter{"filter", "filters", ArgumentKind::filter, true, false, ""};
  EXPECT_EQ((*argument_value(filter, {"event_type=smtp", "a.b=c=d"}))["a.b"], "c=d");
  EXPECT_FALSE(argument_value(filter, {"novalue"}));
}

}  // namespace
}  // namespace sluice::control
