// What must outlive sluiced: operators' orders, standings that are acted on, and a few values, in
// SQLite (write-ahead log, fully synchronous: what was answered to an operator survives a power
// cut). Ends are kept in the monotonic clock together with the boot they belong to, and in wall
// time beside: within one boot they are exact whatever the wall clock does (E11), after another
// boot what was left by the wall clock is taken, at most the whole duration.
//
// One thread at a time. Every call may wait for the disk: not for the loop that decides.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/detect/ladder.h"
#include "control/detect/orders.h"
#include "dataplane/base/result.h"

struct sqlite3;

namespace sluice::control {

// Now, in both clocks, and which boot the monotonic one belongs to.
struct StoreClock {
  Nanoseconds monotonic = 0;
  std::uint64_t wall = 0;  // ns since the Unix epoch
  std::string boot;        // /proc/sys/kernel/random/boot_id
};
StoreClock store_clock();

class StateStore {
 public:
  // Opens or creates FOLDER/state.db. A file of a newer schema is refused; one that is damaged is
  // set aside as state.db.damaged and a new one begun (the fault is in `warning()`).
  static Result<std::unique_ptr<StateStore>> open(const std::filesystem::path& folder);
  ~StateStore();
  StateStore(const StateStore&) = delete;
  StateStore& operator=(const StateStore&) = delete;

  Status put_order(const Order& order, const StoreClock& clock);
  Status remove_order(const Prefix& prefix);
  // Orders that have not ended at `clock`.
  Result<std::vector<Order>> orders(const StoreClock& clock);

  Status put_standing(const Standing& standing, const StoreClock& clock);
  Status remove_standing(const Prefix& host);
  // Standings that are on a step; one whose time has come meanwhile has `until` = now, so that the
  // ladder takes its step down.
  Result<std::vector<Standing>> standings(const StoreClock& clock);

  Status put_value(const std::string& key, const std::string& value);
  Result<std::optional<std::string>> value(const std::string& key);

  const std::string& warning() const { return warning_; }
  static constexpr int kSchema = 1;

 private:
  explicit StateStore(sqlite3* database) : database_(database) {}
  sqlite3* database_;
  std::string warning_;
};

}  // namespace sluice::control
