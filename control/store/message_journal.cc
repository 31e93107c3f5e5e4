#include "control/store/message_journal.h"

#include <time.h>

#include "control/store/database.h"
#include "control/store/pattern.h"

namespace sluice::control {
namespace {

constexpr Migration kMigrations[] = {
    {R"sql(
CREATE TABLE message (
  id INTEGER PRIMARY KEY AUTOINCREMENT, wall INTEGER NOT NULL, source TEXT NOT NULL,
  sender TEXT NOT NULL, recipients TEXT NOT NULL, outcome TEXT NOT NULL, body TEXT NOT NULL);
)sql"},
};

Nanoseconds now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<Nanoseconds>(t.tv_sec) * kSecond + static_cast<Nanoseconds>(t.tv_nsec);
}

// Recipients are kept as lines; no address on the wire holds a line end.
std::string lines_of(const std::vector<std::string>& all) {
  std::string out;
  for (const std::string& one : all) {
    if (!out.empty()) out += '\n';
    for (const char c : one) out += c == '\n' ? ' ' : c;
  }
  return out;
}

bool any_line(const std::string& pattern, const std::string& lines) {
  for (std::size_t begin = 0; begin <= lines.size();) {
    const std::size_t end = std::min(lines.find('\n', begin), lines.size());
    if (glob(pattern, std::string_view(lines).substr(begin, end - begin))) return true;
    begin = end + 1;
  }
  return false;
}

}  // namespace

Result<std::unique_ptr<MessageJournal>> MessageJournal::open(const std::filesystem::path& folder,
                                                             std::uint64_t most) {
  auto opened = open_database(folder / "messages.db", "NORMAL", kMigrations,
                              static_cast<int>(std::size(kMigrations)));
  if (!opened) return Error{opened.error()};
  std::unique_ptr<MessageJournal> journal(new MessageJournal(opened->handle, most));
  journal->warning_ = opened->warning;
  return journal;
}

MessageJournal::~MessageJournal() { sqlite3_close(database_); }

Status MessageJournal::add(const std::vector<JournalRow>& rows) {
  if (rows.empty()) return ok();
  return in_transaction(database_, [&]() -> Status {
    Statement insert(database_,
                     "INSERT INTO message (wall,source,sender,recipients,outcome,body) "
                     "VALUES (?,?,?,?,?,?)");
    for (const JournalRow& row : rows) {
      insert.rewind();
      if (Status s = insert.bind(row.wall)
                         .bind(to_text(row.source))
                         .bind(row.sender)
                         .bind(lines_of(row.recipients))
                         .bind(row.outcome)
                         .bind(row.body)
                         .run();
          !s) {
        return s;
      }
    }
    return Statement(database_, "DELETE FROM message WHERE id <= (SELECT max(id) FROM message) - ?")
        .bind(most_)
        .run();
  });
}

Result<JournalAnswer> MessageJournal::find(const JournalQuery& query) {
  JournalAnswer answer;
  const Nanoseconds deadline = now() + query.patience;
  Statement s(database_,
              "SELECT wall,source,sender,recipients,outcome,body FROM message ORDER BY id DESC");
  // Rows are nearly in order of time; a few late ones must not end the search.
  constexpr std::uint64_t kDisorder = 60 * kSecond;
  for (std::uint64_t seen = 0; answer.bodies.size() < query.most && s.step(); ++seen) {
    const std::uint64_t wall = s.number(0);
    if (query.since > kDisorder && wall < query.since - kDisorder) break;
    if (seen % 1024 == 1023 && now() > deadline) {
      answer.whole = false;
      break;
    }
    if (wall < query.since) continue;
    if (query.host) {
      const auto source = parse_address(s.text(1));
      if (!source || !contains(*query.host, *source)) continue;
    }
    if (!query.from.empty() && !glob(query.from, s.text(2))) continue;
    if (!query.to.empty() && !any_line(query.to, s.text(3))) continue;
    if (!query.outcome.empty() && !glob(query.outcome, s.text(4))) continue;
    answer.bodies.push_back(s.text(5));
  }
  if (auto status = s.done(); !status) return Error{status.error()};
  return answer;
}

}  // namespace sluice::control
