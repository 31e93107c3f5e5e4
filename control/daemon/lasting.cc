// What outlives the process beyond orders: standings with their evidence, counters, messages. Each
// is gathered in the loop and written by an executor, so that decisions never wait for the disk.
#include <spdlog/spdlog.h>

#include "control/daemon/controller.h"
#include "control/daemon/message_row.h"

namespace sluice::control {

namespace {
constexpr Nanoseconds kStandingsEvery = 500 * kMillisecond;
constexpr Nanoseconds kMessagesEvery = 500 * kMillisecond;
constexpr Nanoseconds kCountersEvery = 10 * kSecond;
}  // namespace

void Controller::start_lasting() {
  const Nanoseconds now = monotonic_now();
  const std::uint64_t wall = wall_now();
  if (const auto minutes = store_->minutes(); minutes) {
    for (const StoredMinute& m : *minutes) traffic_.restore(m, now, wall);
  }
  if (const auto hits = store_->hits(); hits) {
    for (const StoredHits& h : *hits) traffic_.restore(h);
  }
  if (auto journal = MessageJournal::open(options_.state, config_->events.messages); journal) {
    journal_ = std::move(*journal);
    if (!journal_->warning().empty()) spdlog::warn("{}", journal_->warning());
  } else {
    // Mail is inspected without it; `show messages` then knows what is in memory.
    journal_error_ = journal.error();
    spdlog::error("{}", journal_error_);
  }
  loop_.every(kStandingsEvery, [this] { flush_standings(); });
  loop_.every(kMessagesEvery, [this] { flush_messages(); });
  loop_.every(kCountersEvery, [this] { flush_counters(); });
}

// From any thread.
void Controller::store_failed(const std::string& error) {
  loop_.post([this, error] {
    if (store_error_ != error) spdlog::error("{}", error);
    ++store_errors_;
    store_error_ = error;
  });
}

void Controller::flush_standings() {
  if (unsaved_hosts_.empty()) return;
  std::vector<Standing> keep;
  std::vector<Prefix> remove;
  for (const Prefix& host : unsaved_hosts_) {
    const Standing* s = ladder_.find(host.address);
    if (s != nullptr && (s->decided != Level::clean || !s->hits.empty())) {
      keep.push_back(*s);
    } else {
      remove.push_back(host);
    }
  }
  unsaved_hosts_.clear();
  disk_->run(
      [this, keep = std::move(keep), remove = std::move(remove), clock = store_clock()] {
        if (const Status s = store_->put_standings(keep, remove, clock); !s) {
          store_failed(s.error());
        }
      },
      {});
}

void Controller::flush_counters() {
  const std::uint64_t wall = wall_now();
  auto minutes = traffic_.changed_minutes(monotonic_now(), wall);
  auto hits = traffic_.changed_hits();
  if (minutes.empty() && hits.empty()) return;
  const std::uint64_t day_ago = wall / (60 * kSecond) - std::min<std::uint64_t>(1440, wall);
  disk_->run(
      [this, minutes = std::move(minutes), hits = std::move(hits), day_ago] {
        if (const Status s = store_->put_counters(minutes, hits, day_ago); !s) {
          store_failed(s.error());
        }
      },
      {});
}

void Controller::flush_messages() {
  if (pending_messages_.empty()) return;
  if (!journal_) {
    pending_messages_.clear();
    return;
  }
  const std::size_t count = pending_messages_.size();
  journal_waiting_ += count;
  auto error = std::make_shared<std::string>();
  journal_jobs_->run(
      [this, error, run = started_wall_, messages = std::exchange(pending_messages_, {})] {
        std::vector<JournalRow> rows;
        rows.reserve(messages.size());
        for (const PendingMessage& m : messages) {
          const json event = json::parse(m.line, nullptr, false);
          if (event.is_object()) rows.push_back(journal_row(event, m.event, run, m.source, m.wall));
        }
        if (const Status s = journal_->add(rows); !s) *error = s.error();
      },
      [this, error, count] {
        journal_waiting_ -= count;
        if (!error->empty()) journal_dropped_ += count;
        journal_error_ = *error;
      });
}

}  // namespace sluice::control
