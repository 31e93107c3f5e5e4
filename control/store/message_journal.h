// The messages of the last days, on disk: what `show messages` looks through, also after a restart.
//
// Theory. A table of SQLite that only grows at one end and is cut at the other: at most `most`
// rows. A row is the columns that are searched and the answer's JSON object as it will be shown, so
// that a search parses only what it gives back. A search goes from the latest back and has a
// deadline: patterns cannot use an index. Written in batches, `synchronous=NORMAL`: a power cut may
// cost the last moments, never the file.
//
// One thread at a time; every call may wait for the disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/identity/prefix.h"
#include "dataplane/base/bytes.h"
#include "dataplane/base/result.h"

struct sqlite3;

namespace sluice::control {

struct JournalRow {
  std::uint64_t wall = 0;               // ns since the Unix epoch
  Address source;                       // the client
  std::string sender;                   // without angle brackets
  std::vector<std::string> recipients;  // without angle brackets; the refused ones too
  std::string outcome;
  std::string body;  // JSON object
};

struct JournalQuery {
  std::string from;  // pattern; empty: any
  std::string to;
  std::string outcome;
  std::optional<Prefix> host;
  std::uint64_t since = 0;  // wall; 0: all
  std::size_t most = 50;
  Nanoseconds patience = 5 * kSecond;
};

struct JournalAnswer {
  std::vector<std::string> bodies;  // latest first
  bool whole = true;                // false: patience ended first
};

class MessageJournal {
 public:
  // FOLDER/messages.db, as StateStore::open() does.
  static Result<std::unique_ptr<MessageJournal>> open(const std::filesystem::path& folder,
                                                      std::uint64_t most);
  ~MessageJournal();
  MessageJournal(const MessageJournal&) = delete;
  MessageJournal& operator=(const MessageJournal&) = delete;

  // All or none of them.
  Status add(const std::vector<JournalRow>& rows);
  Result<JournalAnswer> find(const JournalQuery& query);
  void set_most(std::uint64_t most) { most_ = most; }
  const std::string& warning() const { return warning_; }

 private:
  MessageJournal(sqlite3* database, std::uint64_t most) : database_(database), most_(most) {}
  sqlite3* database_;
  std::uint64_t most_;
  std::string warning_;
};

}  // namespace sluice::control
