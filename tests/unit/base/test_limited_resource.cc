#include <gtest/gtest.h>

#include "dataplane/base/limited_resource.h"

namespace sluice {
namespace {

// One that says when it is asked, and refuses.
class Empty final : public std::pmr::memory_resource {
  void* do_allocate(std::size_t, std::size_t) override { throw std::bad_alloc(); }
  void do_deallocate(void*, std::size_t, std::size_t) override {}
  bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
};

TEST(LimitedResource, OneWithinAnotherCountsForBoth) {
  LimitedResource whole(std::pmr::new_delete_resource(), 100);
  LimitedResource one(whole, 60);
  LimitedResource other(whole, 60);
  void* const first = one.allocate(50);
  EXPECT_EQ(one.used(), 50u);
  EXPECT_EQ(whole.used(), 50u);
  EXPECT_THROW(static_cast<void>(one.allocate(11)), std::bad_alloc);    // its own bound
  EXPECT_THROW(static_cast<void>(other.allocate(51)), std::bad_alloc);  // that of the whole
  EXPECT_FALSE(other.charge(51));
  EXPECT_TRUE(other.charge(50));
  EXPECT_EQ(whole.used(), 100u);
  EXPECT_EQ(one.used(), 50u);
  other.refund(50);
  one.deallocate(first, 50);
  EXPECT_EQ(one.used() + other.used() + whole.used(), 0u);
}

TEST(LimitedResource, WhatIsRefusedAboveIsNotCounted) {
  Empty empty;
  LimitedResource whole(&empty, 100);
  LimitedResource one(whole, 100);
  EXPECT_THROW(static_cast<void>(one.allocate(8)), std::bad_alloc);
  EXPECT_EQ(one.used() + whole.used(), 0u);
}

}  // namespace
}  // namespace sluice
