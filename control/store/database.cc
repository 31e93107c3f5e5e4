#include "control/store/database.h"

namespace sluice::control {
namespace {

struct Closer {
  sqlite3* handle = nullptr;
  ~Closer() { sqlite3_close(handle); }
};

Result<sqlite3*> open_checked(const std::filesystem::path& file, const char* synchronous) {
  Closer database;
  const std::string name = file.filename().string();
  if (sqlite3_open_v2(file.c_str(), &database.handle,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX,
                      nullptr) != SQLITE_OK) {
    return Error{file.string() + ": " +
                 (database.handle != nullptr ? sqlite3_errmsg(database.handle) : "no memory")};
  }
  sqlite3_busy_timeout(database.handle, 2000);
  const std::string sync = std::string("PRAGMA synchronous=") + synchronous;
  for (const char* sql : {"PRAGMA journal_mode=WAL", sync.c_str(), "PRAGMA foreign_keys=ON"}) {
    if (auto s = execute(database.handle, sql); !s) return Error{s.error()};
  }
  {
    Statement check(database.handle, "PRAGMA quick_check(1)");
    if (!check.step() || check.text(0) != "ok") return Error{name + ": damaged"};
  }
  return std::exchange(database.handle, nullptr);
}

Status migrate(sqlite3* database, const std::filesystem::path& file, const Migration* migrations,
               int count) {
  std::uint64_t schema = 0;
  {
    Statement version(database, "PRAGMA user_version");
    if (version.step()) schema = version.number(0);
  }
  if (schema > static_cast<std::uint64_t>(count)) {
    return Error{file.string() + ": is of schema " + std::to_string(schema) +
                 ", this program knows up to " + std::to_string(count)};
  }
  for (int next = static_cast<int>(schema) + 1; next <= count; ++next) {
    const std::string sql = std::string("BEGIN IMMEDIATE;") + migrations[next - 1].sql +
                            "PRAGMA user_version=" + std::to_string(next) + ";COMMIT";
    if (auto s = execute(database, sql.c_str()); !s) {
      sqlite3_exec(database, "ROLLBACK", nullptr, nullptr, nullptr);
      return Error{s.error() + " (making schema " + std::to_string(next) + ")"};
    }
  }
  return ok();
}

}  // namespace

Status execute(sqlite3* database, const char* sql) {
  if (sqlite3_exec(database, sql, nullptr, nullptr, nullptr) == SQLITE_OK) return ok();
  return Error{Statement::name_of(database) + ": " + sqlite3_errmsg(database)};
}

Result<OpenedDatabase> open_database(const std::filesystem::path& file, const char* synchronous,
                                     const Migration* migrations, int count) {
  std::error_code code;
  std::filesystem::create_directories(file.parent_path(), code);
  OpenedDatabase opened;
  auto database = open_checked(file, synchronous);
  if (!database) {
    // A folder that cannot be written to is the operator's; a damaged file is ours to get over.
    if (!std::filesystem::exists(file, code)) return Error{database.error()};
    const std::string aside = file.string() + ".damaged";
    opened.warning = database.error() + "; set aside as " +
                     std::filesystem::path(aside).filename().string() + ", begun anew";
    std::filesystem::rename(file, aside, code);
    if (code) return Error{database.error()};
    std::filesystem::remove(file.string() + "-wal", code);
    std::filesystem::remove(file.string() + "-shm", code);
    database = open_checked(file, synchronous);
    if (!database) return Error{database.error()};
  }
  if (auto s = migrate(*database, file, migrations, count); !s) {
    sqlite3_close(*database);
    return Error{s.error()};
  }
  opened.handle = *database;
  return opened;
}

}  // namespace sluice::control
