#include "control/store/state_store.h"

#include <sqlite3.h>
#include <time.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

namespace sluice::control {
namespace {

using nlohmann::json;

constexpr char kSchemaText[] = R"sql(
CREATE TABLE value (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE host_order (
  prefix TEXT PRIMARY KEY, action INTEGER NOT NULL, rate INTEGER NOT NULL, burst INTEGER NOT NULL,
  until_monotonic INTEGER NOT NULL, until_wall INTEGER NOT NULL, boot TEXT NOT NULL,
  created INTEGER NOT NULL, who TEXT NOT NULL, comment TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE standing (
  host TEXT PRIMARY KEY, decided INTEGER NOT NULL, enforced INTEGER NOT NULL,
  held_back INTEGER NOT NULL, until_monotonic INTEGER NOT NULL, until_wall INTEGER NOT NULL,
  boot TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
)sql";

// One statement, prepared for one use.
class Statement {
 public:
  Statement(sqlite3* database, const char* sql) : database_(database) {
    good_ = sqlite3_prepare_v2(database, sql, -1, &statement_, nullptr) == SQLITE_OK;
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(const std::string& text) {
    good_ =
        good_ && sqlite3_bind_text(statement_, ++index_, text.data(), static_cast<int>(text.size()),
                                   SQLITE_TRANSIENT) == SQLITE_OK;
    return *this;
  }
  Statement& bind(std::uint64_t number) {
    good_ = good_ && sqlite3_bind_int64(statement_, ++index_, static_cast<sqlite3_int64>(number)) ==
                         SQLITE_OK;
    return *this;
  }
  // True while there is a row.
  bool step() {
    if (!good_) return false;
    const int result = sqlite3_step(statement_);
    good_ = result == SQLITE_ROW || result == SQLITE_DONE;
    return result == SQLITE_ROW;
  }
  Status run() {
    step();
    return done();
  }
  Status done() const {
    if (good_) return ok();
    return Error{std::string("state.db: ") + sqlite3_errmsg(database_)};
  }
  std::string text(int column) const {
    const auto* p = sqlite3_column_text(statement_, column);
    const int size = sqlite3_column_bytes(statement_, column);
    return p == nullptr
               ? std::string{}
               : std::string(reinterpret_cast<const char*>(p), static_cast<std::size_t>(size));
  }
  std::uint64_t number(int column) const {
    return static_cast<std::uint64_t>(sqlite3_column_int64(statement_, column));
  }

 private:
  sqlite3* database_;
  sqlite3_stmt* statement_ = nullptr;
  int index_ = 0;
  bool good_ = false;
};

Status execute(sqlite3* database, const char* sql) {
  if (sqlite3_exec(database, sql, nullptr, nullptr, nullptr) == SQLITE_OK) return ok();
  return Error{std::string("state.db: ") + sqlite3_errmsg(database)};
}

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

Result<sqlite3*> open_checked(const std::filesystem::path& file) {
  sqlite3* database = nullptr;
  const auto fail = [&](const std::string& text) {
    sqlite3_close(database);
    return Error{text};
  };
  if (sqlite3_open_v2(file.c_str(), &database,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX,
                      nullptr) != SQLITE_OK) {
    return fail(file.string() + ": " +
                (database != nullptr ? sqlite3_errmsg(database) : "no memory"));
  }
  sqlite3_busy_timeout(database, 2000);
  for (const char* sql :
       {"PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON"}) {
    if (auto s = execute(database, sql); !s) return fail(s.error());
  }
  {
    Statement check(database, "PRAGMA quick_check(1)");
    if (!check.step() || check.text(0) != "ok") return fail("state.db: damaged");
  }
  return database;
}

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
  std::error_code code;
  std::filesystem::create_directories(folder, code);
  const std::filesystem::path file = folder / "state.db";
  std::string warning;
  auto database = open_checked(file);
  if (!database) {
    // A folder that cannot be written to is the operator's; a damaged file is ours to get over.
    if (!std::filesystem::exists(file, code)) return Error{database.error()};
    warning = database.error() + "; set aside as state.db.damaged, begun anew";
    std::filesystem::rename(file, file.string() + ".damaged", code);
    if (code) return Error{database.error()};
    std::filesystem::remove(file.string() + "-wal", code);
    std::filesystem::remove(file.string() + "-shm", code);
    database = open_checked(file);
    if (!database) return Error{database.error()};
  }
  std::unique_ptr<StateStore> store(new StateStore(*database));
  store->warning_ = warning;
  std::uint64_t schema = 0;
  {
    Statement version(*database, "PRAGMA user_version");
    if (version.step()) schema = version.number(0);
  }
  if (schema > kSchema) {
    return Error{file.string() + ": is of schema " + std::to_string(schema) +
                 ", this program knows up to " + std::to_string(kSchema)};
  }
  if (schema == 0) {
    const std::string sql = "BEGIN;" + std::string(kSchemaText) +
                            "PRAGMA user_version=" + std::to_string(kSchema) + ";COMMIT";
    if (auto s = execute(*database, sql.c_str()); !s) return Error{s.error()};
  }
  return store;
}

StateStore::~StateStore() { sqlite3_close(database_); }

Status StateStore::put_order(const Order& o, const StoreClock& clock) {
  Statement s(database_, "INSERT OR REPLACE INTO host_order VALUES (?,?,?,?,?,?,?,?,?,?)");
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
    if (t.decided == Level::clean || t.until == 0) continue;
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
