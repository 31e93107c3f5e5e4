// Messages from files: mbox lines, line ends, folders.
#include "control/cli/message_files.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/unit/control/temporary_folder.h"

namespace sluice::control {
namespace {

using testing_support::TemporaryFolder;

TEST(CutMessages, UnixTextIsSentWithCrlf) {
  const auto messages = cut_messages("m", "A: b\n\nx\r\ny\n");
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].octets, "A: b\r\n\r\nx\r\ny\r\n");
  EXPECT_EQ(messages[0].name, "m");
}

TEST(CutMessages, CrlfFilesKeepTheirBareLineFeeds) {
  const auto messages = cut_messages("m", "A: b\r\n\r\nx\ny\r\n");
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].octets, "A: b\r\n\r\nx\ny\r\n");
}

TEST(CutMessages, MboxIsCutAtItsLines) {
  const auto messages = cut_messages(
      "box",
      "From a@b.test Thu Nov 26 00:00:00 2026\nS: 1\n\n>From me\n>>From you\nFrom here on, text\n\n"
      "From nobody is no mbox line\n\n"
      "From c@d.test  Fri Nov 27 00:00:00 2026\nS: 2\n\nend\n\n");
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[0].name, "box:1");
  EXPECT_EQ(messages[0].octets,
            "S: 1\r\n\r\nFrom me\r\n>From you\r\nFrom here on, text\r\n\r\n"
            "From nobody is no mbox line\r\n");
  EXPECT_EQ(messages[1].name, "box:2");
  EXPECT_EQ(messages[1].octets, "S: 2\r\n\r\nend\r\n");
}

TEST(CutMessages, EmptyAndOneLine) {
  ASSERT_EQ(cut_messages("m", "").size(), 1u);
  EXPECT_EQ(cut_messages("m", "")[0].octets, "");
  EXPECT_EQ(cut_messages("m", "no end")[0].octets, "no end");
  EXPECT_EQ(cut_messages("m", "From a@b.test Thu Nov 26 00:00:00 2026")[0].octets, "");
}

TEST(MessagePaths, FoldersGiveWhatIsMail) {
  TemporaryFolder folder;
  for (const char* name : {"b.eml", "a.mbox", "12", "notes.json", ".hidden.eml"}) {
    std::ofstream(folder.path() / name) << "A: b\n\nx\n";
  }
  std::filesystem::create_directories(folder.path() / "inbox" / "cur");
  std::ofstream(folder.path() / "inbox" / "cur" / "1.host:2,S") << "A: b\n\nx\n";
  const auto found = message_paths(folder.path());
  ASSERT_TRUE(found);
  std::vector<std::string> names;
  for (const auto& path : *found) names.push_back(path.filename().string());
  EXPECT_EQ(names, (std::vector<std::string>{"12", "a.mbox", "b.eml", "1.host:2,S"}));
}

TEST(MessagePaths, WhatCannotBeReadIsNamed) {
  const auto none =
      for_each_message({"/nonexistent/x.eml"}, [](const MessageFile&) { return true; });
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().find("/nonexistent/x.eml"), std::string::npos);
  TemporaryFolder empty;
  EXPECT_FALSE(for_each_message({empty.path()}, [](const MessageFile&) { return true; }));
}

}  // namespace
}  // namespace sluice::control
