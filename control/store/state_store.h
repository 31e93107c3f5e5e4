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

// Who did what, from where.
struct AuditEntry {
  std::uint64_t id = 0;  // given by the store
  std::uint64_t wall = 0;
  std::string who;
  std::string access;  // viewer, operator, admin
  std::string from;
  std::string what;
  std::string comment;
};

// Counters that must last.
struct StoredMinute {
  std::string wire;
  std::uint64_t minute = 0;  // of the wall clock: minutes since the Unix epoch
  std::string body;          // the caller's
};
struct StoredHits {
  std::uint32_t gid = 0;
  std::uint32_t sid = 0;
  std::uint64_t hits = 0;
};

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
  // All or none: one transaction, one wait for the disk.
  Status put_standings(const std::vector<Standing>& keep, const std::vector<Prefix>& remove,
                       const StoreClock& clock);
  // Standings with evidence or on a step; one whose time has come meanwhile has `until` = now, so
  // that the ladder takes its step down.
  Result<std::vector<Standing>> standings(const StoreClock& clock);

  // The latest kMostAudit entries are kept.
  Status put_audit(const AuditEntry& entry);
  // Latest first, of `since` (wall) or later.
  Result<std::vector<AuditEntry>> audit(std::uint64_t since, std::size_t most);

  // Replaces those minutes and hits; minutes before `oldest` are forgotten. One transaction.
  Status put_counters(const std::vector<StoredMinute>& minutes, const std::vector<StoredHits>& hits,
                      std::uint64_t oldest);
  Result<std::vector<StoredMinute>> minutes();
  Result<std::vector<StoredHits>> hits();

  Status put_value(const std::string& key, const std::string& value);
  Result<std::optional<std::string>> value(const std::string& key);

  const std::string& warning() const { return warning_; }
  static constexpr int kSchema = 2;
  static constexpr std::uint64_t kMostAudit = 1'000'000;

 private:
  explicit StateStore(sqlite3* database) : database_(database) {}
  sqlite3* database_;
  std::string warning_;
};

}  // namespace sluice::control
