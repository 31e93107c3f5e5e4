// The configuration on the disk: history, what a crash leaves, and a kill at every system call of a
// commit.
#include "control/store/config_archive.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <iterator>

#include "tests/unit/control/temporary_folder.h"

namespace sluice::control {
namespace {

using testing_support::TemporaryFolder;

std::string contents(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class ArchiveTest : public testing::Test {
 protected:
  std::unique_ptr<ConfigArchive> open() {
    auto archive = ConfigArchive::open(folder.path() / "history", file());
    EXPECT_TRUE(archive) << archive.error();
    return std::move(*archive);
  }
  std::filesystem::path file() const { return folder.path() / "sluice.json"; }
  static Revision by(const std::string& comment) {
    Revision r;
    r.time = 7;
    r.user = "alice";
    r.from = "local";
    r.what = "commit";
    r.comment = comment;
    return r;
  }
  static void commit(ConfigArchive& archive, const std::string& comment, const std::string& text) {
    ASSERT_TRUE(archive.prepare(by(comment), text));
    ASSERT_TRUE(archive.finish());
  }
  TemporaryFolder folder;
};

TEST_F(ArchiveTest, KeepsFiftyNewestFirst) {
  auto archive = open();
  for (int i = 1; i <= 53; ++i) commit(*archive, std::to_string(i), "text " + std::to_string(i));
  for (int again = 0; again < 2; ++again) {
    const auto revisions = archive->revisions();
    ASSERT_EQ(revisions.size(), 50u);
    EXPECT_EQ(revisions[0].comment, "53");
    EXPECT_EQ(revisions[49].comment, "4");
    EXPECT_EQ(*archive->text(revisions[1].sequence), "text 52");
    EXPECT_EQ(contents(file()), "text 53");
    archive = open();
  }
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& e :
       std::filesystem::directory_iterator(folder.path() / "history")) {
    ++files;
  }
  EXPECT_EQ(files, 50u);
}

TEST_F(ArchiveTest, WhatIsPreparedChangesNothing) {
  auto archive = open();
  commit(*archive, "one", "1");
  ASSERT_TRUE(archive->prepare(by("two"), "2"));
  EXPECT_EQ(contents(file()), "1");
  EXPECT_EQ(archive->revisions().size(), 1u);
  archive->abandon();
  EXPECT_FALSE(archive->finish());
  commit(*archive, "three", "3");
  EXPECT_EQ(archive->revisions().front().sequence, 2u);
}

TEST_F(ArchiveTest, AFullDiskIsKnownBeforeAnythingChanges) {
  auto archive = open();
  commit(*archive, "one", "1");
  // No room, as a folder in the way is.
  std::filesystem::create_directory(file().string() + ".new");
  EXPECT_FALSE(archive->prepare(by("two"), "2"));
  EXPECT_EQ(contents(file()), "1");
  std::filesystem::remove(file().string() + ".new");
  archive = open();
  EXPECT_EQ(archive->revisions().size(), 1u);
}

TEST_F(ArchiveTest, UnconfirmedOutlivesARestartAndKeepsItsWayBack) {
  auto archive = open();
  commit(*archive, "base", "base");
  Revision r = by("try");
  r.unconfirmed = Unconfirmed{1, 100, 200, "boot"};
  ASSERT_TRUE(archive->prepare(r, "try"));
  ASSERT_TRUE(archive->finish());
  for (int i = 0; i < 60; ++i) {  // others, while it waits
    ASSERT_TRUE(archive->prepare(r, "more " + std::to_string(i)));
    ASSERT_TRUE(archive->finish());
  }
  archive = open();
  const auto waiting = archive->revisions().front().unconfirmed;
  ASSERT_TRUE(waiting);
  EXPECT_EQ(waiting->return_to, 1u);
  EXPECT_EQ(waiting->until_wall, 200u);
  EXPECT_EQ(waiting->boot, "boot");
  EXPECT_EQ(*archive->text(1), "base");
  ASSERT_TRUE(archive->confirm());
  EXPECT_FALSE(archive->revisions().front().unconfirmed);
  EXPECT_FALSE(open()->revisions().front().unconfirmed);
  EXPECT_EQ(*open()->text(archive->revisions().front().sequence), "more 59");
}

TEST_F(ArchiveTest, DamagedRevisionsAreLeftAside) {
  auto archive = open();
  commit(*archive, "one", "1");
  commit(*archive, "two", "2");
  std::ofstream(folder.path() / "history/revision-1") << "{\"sequence\":";
  std::ofstream(folder.path() / "history/revision-9") << "{\"sequence\":8}\n";
  archive = open();
  EXPECT_EQ(archive->revisions().size(), 1u);
  EXPECT_NE(archive->note().find("revision-1 is damaged"), std::string::npos) << archive->note();
}

// Runs `work` in a child and kills it as it enters its nth system call; false: it ended before.
bool killed_at(int nth, const std::function<void()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    ::raise(SIGSTOP);
    work();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  for (int calls = 0;;) {
    // Each call stops twice: at its entry and at its return.
    ::ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
    ::waitpid(child, &status, 0);
    if (WIFEXITED(status)) return false;
    if (++calls == 2 * nth - 1) {
      ::kill(child, SIGKILL);
      ::waitpid(child, &status, 0);
      return true;
    }
  }
}

TEST_F(ArchiveTest, KilledAtAnySystemCallOfACommitTheOldOrTheNewIsThere) {
  const std::string old_text(5000, 'o');
  const std::string new_text(9000, 'n');
  int old_count = 0;
  int new_count = 0;
  int nth = 1;
  for (bool killed = true; killed; ++nth) {
    std::filesystem::remove_all(folder.path() / "history");
    std::filesystem::remove(file());
    commit(*open(), "old", old_text);
    killed = killed_at(nth, [this, &new_text] {
      auto archive = ConfigArchive::open(folder.path() / "history", file());
      if (!archive || !(*archive)->prepare(by("new"), new_text) || !(*archive)->finish())
        ::_exit(1);
    });
    const auto archive = open();
    const std::string now = contents(file());
    const auto revisions = archive->revisions();
    ASSERT_FALSE(revisions.empty()) << nth;
    if (now == old_text) {
      ++old_count;
      EXPECT_EQ(revisions.size(), 1u) << nth;
      EXPECT_EQ(revisions.front().comment, "old") << nth;
    } else {
      ASSERT_EQ(now, new_text) << nth;
      ++new_count;
      ASSERT_EQ(revisions.size(), 2u) << nth;
      EXPECT_EQ(revisions.front().comment, "new") << nth;
    }
    EXPECT_EQ(*archive->text(revisions.front().sequence), now) << nth;
    // Nothing is left lying about.
    for (const auto& e : std::filesystem::recursive_directory_iterator(folder.path())) {
      const std::string name = e.path().filename().string();
      EXPECT_FALSE(name.ends_with(".new") || name == "pending") << nth << " " << name;
    }
    // And the next commit goes on from there.
    commit(*archive, "next", "next");
    EXPECT_EQ(contents(file()), "next") << nth;
  }
  EXPECT_GT(old_count, 10);
  EXPECT_GT(new_count, 5);
}

}  // namespace
}  // namespace sluice::control
