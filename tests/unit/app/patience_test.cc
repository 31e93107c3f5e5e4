// How long a worker polls: it learns to cover gaps that are short, and unlearns it when they grow.
#include "dataplane/app/patience.h"

#include <gtest/gtest.h>

namespace sluice::app {
namespace {

// Frames every `gap`, looked for each 10 us. How many sleeps there were.
unsigned sleeps(Patience& patience, Nanoseconds& now, Nanoseconds gap, unsigned frames) {
  unsigned count = 0;
  for (unsigned i = 0; i < frames; ++i) {
    const Nanoseconds due = now + gap;
    bool slept = false;
    while (now < due) {
      slept = patience.idle(now) || slept;
      now += 10 * kMicrosecond;
    }
    if (slept) ++count;
    patience.worked(now);
  }
  return count;
}

TEST(Patience, SleepsOnAnIdleWireAfterTheLeastWindow) {
  Patience patience;
  Nanoseconds now = kSecond;
  patience.worked(now);
  EXPECT_FALSE(patience.idle(now));
  EXPECT_FALSE(patience.idle(now + Patience::kLeast));
  EXPECT_TRUE(patience.idle(now + Patience::kLeast + 1));
}

TEST(Patience, PollsThroughGapsOnceItKnowsThem) {
  Patience patience;
  Nanoseconds now = kSecond;
  EXPECT_EQ(sleeps(patience, now, kMillisecond, 100), 1u);
}

TEST(Patience, DoesNotGrowWhereOthersNeedTheCpu) {
  Patience patience(Patience::kLeast);
  Nanoseconds now = kSecond;
  EXPECT_EQ(sleeps(patience, now, kMillisecond, 100), 100u);
}

TEST(Patience, DoesNotPollForWhatComesRarely) {
  Patience patience;
  Nanoseconds now = kSecond;
  EXPECT_EQ(sleeps(patience, now, 5 * kMillisecond, 100), 100u);
  EXPECT_EQ(patience.window(), Patience::kLeast);
}

TEST(Patience, ForgetsBusyTimes) {
  Patience patience;
  Nanoseconds now = kSecond;
  sleeps(patience, now, 1500 * kMicrosecond, 10);
  EXPECT_EQ(patience.window(), Patience::kMost);
  EXPECT_EQ(sleeps(patience, now, 20 * kMillisecond, 5), 5u);
  EXPECT_EQ(patience.window(), Patience::kLeast);
}

}  // namespace
}  // namespace sluice::app
