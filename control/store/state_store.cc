#include "control/store/state_store.h"

#include <sqlite3.h>
#include <time.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "control/store/database.h"

namespace sluice::control {
namespace {

using nlohmann::json;

// Version by version; what a version made is never edited, or older files would differ.
constexpr Migration kMigrations[] = {
    {R"sql(
CREATE TABLE value (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE host_order (
  prefix TEXT PRIMARY KEY, action INTEGER NOT NULL, rate INTEGER NOT NULL, burst INTEGER NOT NULL,
  until_monotonic INTEGER NOT NULL, until_wall INTEGER NOT NULL, boot TEXT NOT NULL,
  created INTEGER NOT NULL, who TEXT NOT NULL, comment TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE standing (
  host TEXT PRIMARY KEY, decided INTEGER NOT NULL, enforced INTEGER NOT NULL,
  held_back INTEGER NOT NULL, until_monotonic INTEGER NOT NULL, until_wall INTEGER NOT NULL,
  boot TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
)sql"},
    {R"sql(
ALTER TABLE host_order ADD COLUMN ticket TEXT NOT NULL DEFAULT '';
CREATE TABLE audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT, wall INTEGER NOT NULL, who TEXT NOT NULL,
  access TEXT NOT NULL, origin TEXT NOT NULL, what TEXT NOT NULL, comment TEXT NOT NULL);
CREATE TABLE wire_minute (
  wire TEXT NOT NULL, minute INTEGER NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (wire, minute)) WITHOUT ROWID;
CREATE TABLE rule_hits (
  gid INTEGER NOT NULL, sid INTEGER NOT NULL, hits INTEGER NOT NULL,
  PRIMARY KEY (gid, sid)) WITHOUT ROWID;
)sql"},
};
static_assert(std::size(kMigrations) == StateStore::kSchema);

// The monotonic end at `clock` of what was stored; at most `now + left at the time of storing`.
Nanoseconds end_now(std::uint64_t until_monotonic, std::uint64_t until_wall,
                    const std::string& boot, const StoreClock& clock) {
  if (until_monotonic == 0) return 0;
  if (boot == clock.boot) return until_monotonic;
  if (until_wall <= clock.wall) return clock.monotonic;
  return clock.monotonic + (until_wall - clock.wall);
}

std::uint64_t wall_end(Nanoseconds until, const StoreClock& clock) {
  if (until == 0) return 0;
  return until > clock.monotonic ? clock.wall + (until - clock.monotonic) : clock.wall;
}

template <typename Enum>
Enum bounded(std::uint64_t value, Enum most) {
  return static_cast<Enum>(std::min(value, static_cast<std::uint64_t>(most)));
}

std::string safe_text(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string{};
}
std::uint64_t safe_number(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

// Text of unknown encoding is kept readable rather than refused.
std::string dump(const json& j) { return j.dump(-1, ' ', false, json::error_handler_t::replace); }

}  // namespace

StoreClock store_clock() {
  StoreClock clock;
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  clock.monotonic =
      static_cast<Nanoseconds>(t.tv_sec) * kSecond + static_cast<Nanoseconds>(t.tv_nsec);
  clock_gettime(CLOCK_REALTIME, &t);
  clock.wall =
      static_cast<std::uint64_t>(t.tv_sec) * kSecond + static_cast<std::uint64_t>(t.tv_nsec);
  static const std::string boot = [] {
    std::string text;
    std::ifstream("/proc/sys/kernel/random/boot_id") >> text;
    return text;
  }();
  clock.boot = boot;
  return clock;
}

Result<std::unique_ptr<StateStore>> StateStore::open(const std::filesystem::path& folder) {
  auto opened = open_database(folder / "state.db", "FULL", kMigrations, kSchema);
  if (!opened) return Error{opened.error()};
  std::unique_ptr<StateStore> store(new StateStore(opened->handle));
  store->warning_ = opened->warning;
  return store;
}

StateStore::~StateStore() { sqlite3_close(database_); }

Status StateStore::put_order(const Order& o, const StoreClock& clock) {
  Statement s(database_, "INSERT OR REPLACE INTO host_order VALUES (?,?,?,?,?,?,?,?,?,?,?)");
  return s.bind(to_text(o.prefix))
      .bind(static_cast<std::uint64_t>(o.action))
      .bind(o.rate_per_hour)
      .bind(o.burst)
      .bind(o.until)
      .bind(wall_end(o.until, clock))
      .bind(clock.boot)
      .bind(o.created)
      .bind(o.who)
      .bind(o.comment)
      .bind(o.ticket)
      .run();
}

Status StateStore::remove_order(const Prefix& prefix) {
  return Statement(database_, "DELETE FROM host_order WHERE prefix=?").bind(to_text(prefix)).run();
}

Result<std::vector<Order>> StateStore::orders(const StoreClock& clock) {
  std::vector<Order> all;
  Statement s(database_, "SELECT * FROM host_order");
  while (s.step()) {
    const auto prefix = parse_prefix(s.text(0));
    if (!prefix) continue;
    Order o;
    o.prefix = prefix->prefix;
    o.action = bounded(s.number(1), policy::HostAction::block);
    o.rate_per_hour = static_cast<std::uint32_t>(s.number(2));
    o.burst = static_cast<std::uint32_t>(s.number(3));
    o.until = end_now(s.number(4), s.number(5), s.text(6), clock);
    o.until_wall = wall_end(o.until, clock);
    o.created = s.number(7);
    o.who = s.text(8);
    o.comment = s.text(9);
    o.ticket = s.text(10);
    if (o.until == 0 || o.until > clock.monotonic) all.push_back(std::move(o));
  }
  if (auto status = s.done(); !status) return Error{status.error()};
  return all;
}

Status StateStore::put_standing(const Standing& t, const StoreClock& clock) {
  json hits = json::array();
  for (const Hit& h : t.hits) {
    hits.push_back({{"age", clock.monotonic > h.at ? clock.monotonic - h.at : 0},
                    {"wall", h.wall},
                    {"flow", h.flow},
                    {"wire", h.wire},
                    {"why", h.why}});
  }
  const json body = {{"hits", hits},
                     {"messages", t.messages},
                     {"condemned", t.condemned},
                     {"recipients", t.recipients},
                     {"octets", t.octets},
                     {"first_seen", t.first_seen},
                     {"last_seen", t.last_seen},
                     {"stored", clock.wall},
                     {"wire", t.wire},
                     {"arithmetic", t.arithmetic}};
  Statement s(database_, "INSERT OR REPLACE INTO standing VALUES (?,?,?,?,?,?,?,?)");
  return s.bind(to_text(t.host))
      .bind(static_cast<std::uint64_t>(t.decided))
      .bind(static_cast<std::uint64_t>(t.enforced))
      .bind(static_cast<std::uint64_t>(t.held_back))
      .bind(t.until)
      .bind(wall_end(t.until, clock))
      .bind(clock.boot)
      .bind(dump(body))
      .run();
}

Status StateStore::remove_standing(const Prefix& host) {
  return Statement(database_, "DELETE FROM standing WHERE host=?").bind(to_text(host)).run();
}

Result<std::vector<Standing>> StateStore::standings(const StoreClock& clock) {
  std::vector<Standing> all;
  Statement s(database_, "SELECT * FROM standing");
  while (s.step()) {
    const auto host = parse_prefix(s.text(0));
    const json body = json::parse(s.text(7), nullptr, false);
    if (!host || !body.is_object()) continue;
    Standing t;
    t.host = host->prefix;
    t.decided = bounded(s.number(1), Level::block);
    t.enforced = std::min(t.decided, bounded(s.number(2), Level::block));
    t.held_back = bounded(s.number(3), HeldBack::disabled);
    t.until = end_now(s.number(4), s.number(5), s.text(6), clock);
    // Below the first step there is no end, but evidence that counts.
    if (t.decided != Level::clean && t.until == 0) continue;
    t.messages = safe_number(body, "messages");
    t.condemned = safe_number(body, "condemned");
    t.recipients = safe_number(body, "recipients");
    t.octets = safe_number(body, "octets");
    t.first_seen = safe_number(body, "first_seen");
    t.last_seen = safe_number(body, "last_seen");
    t.wire = safe_text(body, "wire");
    t.arithmetic = safe_text(body, "arithmetic");
    const std::uint64_t stored = safe_number(body, "stored");
    const Nanoseconds since = clock.wall > stored ? clock.wall - stored : 0;
    if (const auto hits = body.find("hits"); hits != body.end() && hits->is_array()) {
      for (const json& h : *hits) {
        if (!h.is_object()) continue;
        const Nanoseconds age = safe_number(h, "age") + since;
        t.hits.push_back({age < clock.monotonic ? clock.monotonic - age : 0, safe_number(h, "wall"),
                          0, safe_number(h, "flow"), safe_text(h, "wire"), safe_text(h, "why")});
      }
    }
    all.push_back(std::move(t));
  }
  if (auto status = s.done(); !status) return Error{status.error()};
  return all;
}

Status StateStore::put_standings(const std::vector<Standing>& keep,
                                 const std::vector<Prefix>& remove, const StoreClock& clock) {
  return in_transaction(database_, [&]() -> Status {
    for (const Standing& t : keep) {
      if (Status s = put_standing(t, clock); !s) return s;
    }
    for (const Prefix& p : remove) {
      if (Status s = remove_standing(p); !s) return s;
    }
    return ok();
  });
}

Status StateStore::put_audit(const AuditEntry& e) {
  if (auto s = Statement(database_,
                         "INSERT INTO audit (wall,who,access,origin,what,comment) "
                         "VALUES (?,?,?,?,?,?)")
                   .bind(e.wall)
                   .bind(e.who)
                   .bind(e.access)
                   .bind(e.from)
                   .bind(e.what)
                   .bind(e.comment)
                   .run();
      !s) {
    return s;
  }
  return Statement(database_, "DELETE FROM audit WHERE id <= (SELECT max(id) FROM audit) - ?")
      .bind(kMostAudit)
      .run();
}

Result<std::vector<AuditEntry>> StateStore::audit(std::uint64_t since, std::size_t most) {
  std::vector<AuditEntry> all;
  Statement s(database_,
              "SELECT id,wall,who,access,origin,what,comment FROM audit WHERE wall >= ? "
              "ORDER BY id DESC LIMIT ?");
  s.bind(since).bind(static_cast<std::uint64_t>(most));
  while (s.step()) {
    all.push_back(
        {s.number(0), s.number(1), s.text(2), s.text(3), s.text(4), s.text(5), s.text(6)});
  }
  if (auto status = s.done(); !status) return Error{status.error()};
  return all;
}

Status StateStore::put_counters(const std::vector<StoredMinute>& minutes,
                                const std::vector<StoredHits>& hits, std::uint64_t oldest) {
  return in_transaction(database_, [&]() -> Status {
    Statement put(database_, "INSERT OR REPLACE INTO wire_minute VALUES (?,?,?)");
    for (const StoredMinute& m : minutes) {
      put.rewind();
      if (Status s = put.bind(m.wire).bind(m.minute).bind(m.body).run(); !s) return s;
    }
    Statement put_hits(database_, "INSERT OR REPLACE INTO rule_hits VALUES (?,?,?)");
    for (const StoredHits& h : hits) {
      put_hits.rewind();
      if (Status s =
              put_hits.bind(std::uint64_t{h.gid}).bind(std::uint64_t{h.sid}).bind(h.hits).run();
          !s) {
        return s;
      }
    }
    return Statement(database_, "DELETE FROM wire_minute WHERE minute < ?").bind(oldest).run();
  });
}

Result<std::vector<StoredMinute>> StateStore::minutes() {
  std::vector<StoredMinute> all;
  Statement s(database_, "SELECT wire,minute,body FROM wire_minute ORDER BY wire,minute");
  while (s.step()) all.push_back({s.text(0), s.number(1), s.text(2)});
  if (auto status = s.done(); !status) return Error{status.error()};
  return all;
}

Result<std::vector<StoredHits>> StateStore::hits() {
  std::vector<StoredHits> all;
  Statement s(database_, "SELECT gid,sid,hits FROM rule_hits");
  while (s.step()) {
    all.push_back({static_cast<std::uint32_t>(s.number(0)), static_cast<std::uint32_t>(s.number(1)),
                   s.number(2)});
  }
  if (auto status = s.done(); !status) return Error{status.error()};
  return all;
}

Status StateStore::put_value(const std::string& key, const std::string& value) {
  return Statement(database_, "INSERT OR REPLACE INTO value VALUES (?,?)")
      .bind(key)
      .bind(value)
      .run();
}

Result<std::optional<std::string>> StateStore::value(const std::string& key) {
  Statement s(database_, "SELECT value FROM value WHERE key=?");
  s.bind(key);
  std::optional<std::string> found;
  if (s.step()) found = s.text(0);
  if (auto status = s.done(); !status) return Error{status.error()};
  return found;
}

}  // namespace sluice::control
