// SQLite as the stores use it: opened checked, prepared statements that bind in order. Inside
// control/store only. A database is used by one thread at a time.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "dataplane/base/result.h"

namespace sluice::control {

// One statement, prepared for one use; or, by rewind(), for many.
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
  void rewind() {
    sqlite3_reset(statement_);
    index_ = 0;
  }
  Status done() const {
    if (good_) return ok();
    return Error{name_of(database_) + ": " + sqlite3_errmsg(database_)};
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

  static std::string name_of(sqlite3* database) {
    const char* path = sqlite3_db_filename(database, "main");
    return path == nullptr ? std::string("database")
                           : std::filesystem::path(path).filename().string();
  }

 private:
  sqlite3* database_;
  sqlite3_stmt* statement_ = nullptr;
  int index_ = 0;
  bool good_ = false;
};

Status execute(sqlite3* database, const char* sql);

// Does `work` (a Status function) in one transaction: all of it or nothing.
template <typename Work>
Status in_transaction(sqlite3* database, Work&& work) {
  if (Status begun = execute(database, "BEGIN IMMEDIATE"); !begun) return begun;
  Status status = work();
  if (status) status = execute(database, "COMMIT");
  if (!status) sqlite3_exec(database, "ROLLBACK", nullptr, nullptr, nullptr);
  return status;
}

// A step of the schema: what makes version N of N - 1. The first makes a database from nothing.
struct Migration {
  const char* sql;
};

struct OpenedDatabase {
  sqlite3* handle = nullptr;
  std::string warning;  // a damaged file was set aside
};

// Opens or creates `file` (write-ahead log), checks it, and brings its schema to the last of
// `migrations`, each in one transaction. A file of a newer schema is refused; a damaged one is set
// aside as FILE.damaged and a new one begun. `synchronous`: FULL where what was answered must
// survive a power cut, NORMAL where the last moments may be lost.
Result<OpenedDatabase> open_database(const std::filesystem::path& file, const char* synchronous,
                                     const Migration* migrations, int count);

}  // namespace sluice::control
