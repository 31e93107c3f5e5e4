#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "control/cli/command_parser.h"
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
  EXPECT_EQ(std::count(out.begin(), out.end(), 'a'), 100)
      << "nothing is lost while it fits eight lines";
  EXPECT_EQ(std::count(out.begin(), out.end(), 'b'), 200);
}

TEST(TableText, WrapsWhereTextCanBeReadOn) {
  EXPECT_EQ(wrapped("550 5.7.1 refused by policy", 12, 8),
            (std::vector<std::string>{"550 5.7.1", "refused by", "policy"}));
  EXPECT_EQ(wrapped("<someone@customer.example>", 16, 8),
            (std::vector<std::string>{"<someone@", "customer.", "example>"}));
  EXPECT_EQ(wrapped(std::string(40, 'x'), 10, 2),
            (std::vector<std::string>{"xxxxxxxxxx", "xxxxxxxxx~"}));
  EXPECT_EQ(wrapped("", 10, 2), std::vector<std::string>{""});
  EXPECT_EQ(wrapped("\xe6\x97\xa5\xe6\x9c\xac\xe6\x97\xa5", 4, 8).size(), 2u);
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

using Words = std::vector<std::string>;

Words split(std::string_view line) {
  Words words;
  std::string word;
  for (const char c : std::string(line) + " ") {
    if (c != ' ') {
      word += c;
    } else if (!word.empty()) {
      words.push_back(std::exchange(word, {}));
    }
  }
  return words;
}

// What is asked, and its arguments.
json parsed(std::string_view line, bool abbreviations = false) {
  const ParsedLine p = parse_line(split(line), {.abbreviations = abbreviations});
  if (p.command == nullptr) return {{"error", p.error}, {"word", p.error_word}};
  json out = p.arguments;
  out.update(p.command->fixed);
  out["request"] = p.command->request;
  return out;
}

TEST(Commands, TheSessionThatANetworkEngineerExpects) {
  EXPECT_EQ(parsed("request wire w1 self-test"),
            json({{"request", "request self-test"}, {"wire", "w1"}}));
  EXPECT_EQ(parsed("show wire w1 visibility last 15m"),
            json({{"request", "show wire"}, {"wire", "w1"}, {"last", 900}}));
  EXPECT_EQ(parsed("explain host 203.0.113.77"),
            json({{"request", "explain host"}, {"what", "203.0.113.77"}}));
  EXPECT_EQ(parsed("request host 203.0.113.77 limit messages 20/h for 2h ticket AB-99"),
            json({{"request", "host order"},
                  {"action", "limit"},
                  {"prefix", "203.0.113.77"},
                  {"rate", 20},
                  {"seconds", 7200},
                  {"ticket", "AB-99"}}));
  const json messages = {{"request", "show messages"},
                         {"from", "*@cust.example"},
                         {"to", "*@gmail.com"},
                         {"last", 7200}};
  EXPECT_EQ(parsed("show messages from *@cust.example to *@gmail.com last 2h"), messages);
  EXPECT_EQ(parsed("show messages --from=*@cust.example --to *@gmail.com last 2h"), messages);
}

TEST(Commands, WordsStandForOptionsOnlyBehindWhatIsRequired) {
  EXPECT_EQ(parsed("host limit 192.0.2.1 for 2h comment for --rate 7"),
            json({{"request", "host order"},
                  {"action", "limit"},
                  {"prefix", "192.0.2.1"},
                  {"seconds", 7200},
                  {"comment", "for"},
                  {"rate", 7}}));
  EXPECT_EQ(parsed("show wire last last 15m"),
            json({{"request", "show wire"}, {"wire", "last"}, {"last", 900}}));
  EXPECT_EQ(parsed("show wire visibility visibility")["wire"], "visibility");
  EXPECT_EQ(parsed("monitor filter a=b filter c=d")["filters"], json({{"a", "b"}, {"c", "d"}}));
}

TEST(Commands, AnErrorNamesTheWordAndWhatWasExpected) {
  const std::pair<const char*, std::size_t> bad[] = {
      {"shew hosts", 0},
      {"show nothing", 1},
      {"show", 1},
      {"request host 1.2.3.4.5 block", 2},
      {"request host 192.0.2.1", 3},
      {"request host 192.0.2.1 explode", 3},
      {"request host 192.0.2.1 limit messages", 5},
      {"request host 192.0.2.1 limit messages lots", 5},
      {"show hosts limit 5 limit 6", 4},
      {"show hosts sideways", 2},
      {"show hosts --sideways", 2},
      {"explain host", 2},
      {"config load", 2},
      {"show stats --metrics=yes", 2},
      {"", 0},
  };
  for (const auto& [line, word] : bad) {
    const json p = parsed(line);
    ASSERT_TRUE(p.contains("error")) << line << ": " << p;
    EXPECT_EQ(p["word"], word) << line << ": " << p;
    EXPECT_FALSE(p["error"].get<std::string>().empty()) << line;
  }
  EXPECT_NE(parsed("show")["error"].get<std::string>().find("hosts"), std::string::npos);
  EXPECT_EQ(parsed("show \x1b[2J")["error"].get<std::string>().find('\x1b'), std::string::npos);
}

TEST(Commands, AbbreviationsWhereUnambiguous) {
  EXPECT_EQ(parsed("sh mess last 2h", true)["request"], "show messages");
  EXPECT_EQ(parsed("req h 192.0.2.1 bl", true)["action"], "block");
  EXPECT_NE(parsed("sh ver", true)["request"], json());
  const json ambiguous = parsed("show w", true);  // wire, would-have
  EXPECT_NE(ambiguous["error"].get<std::string>().find("wire"), std::string::npos) << ambiguous;
  EXPECT_TRUE(parsed("sh mess").contains("error")) << "scripts write words out";
}

TEST(Commands, WhatMayComeNext) {
  const auto next = [](std::string_view line) {
    std::vector<std::string> out;
    for (const NextWord& w : next_words(split(line)).words) out.push_back(w.text);
    return out;
  };
  const auto has = [](const std::vector<std::string>& all, std::string_view word) {
    return std::find(all.begin(), all.end(), word) != all.end();
  };
  EXPECT_TRUE(has(next(""), "show"));
  EXPECT_TRUE(has(next("show"), "messages"));
  EXPECT_EQ(next("show wire"), Words{"WIRE"});
  EXPECT_TRUE(has(next("show wire w1"), "visibility"));
  EXPECT_TRUE(has(next("show wire w1"), "last"));
  EXPECT_EQ(next("show wire w1 last"), Words{"DURATION"});
  EXPECT_FALSE(has(next("show wire w1 last 2h"), "last"));
  EXPECT_TRUE(has(next("request host 192.0.2.1"), "limit"));
  EXPECT_FALSE(next_words(split("request host 192.0.2.1")).complete);
  EXPECT_TRUE(next_words(split("request host 192.0.2.1 limit")).complete);
  EXPECT_FALSE(next_words(split("show nothing")).error.empty());
  for (const NextWord& w : next_words({}).words) EXPECT_FALSE(w.help.empty()) << w.text;
}

TEST(Commands, EveryWordHasHelpAndEveryPlaceholderItsArgument) {
  for (const Command& c : commands()) {
    EXPECT_FALSE(c.help.empty()) << c.words;
    for (const std::string& word : split(c.words)) {
      if (!std::isupper(static_cast<unsigned char>(word[0]))) continue;
      EXPECT_TRUE(std::any_of(c.arguments.begin(), c.arguments.end(), [&](const Argument& a) {
        return !a.option && a.required && a.name == word;
      })) << c.words;
    }
  }
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
