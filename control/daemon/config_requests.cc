// Requests about the configuration: candidates and their commits, the history, and commits that
// wait for confirmation.
#include <spdlog/spdlog.h>

#include "control/daemon/controller.h"
#include "control/daemon/request_values.h"

namespace sluice::control {

Status Controller::open_archive() {
  auto archive = ConfigArchive::open(options_.state / "configuration", options_.config);
  if (!archive) return Error{archive.error()};
  archive_ = std::move(*archive);
  if (!archive_->note().empty()) spdlog::warn("configuration: {}", archive_->note());
  auto candidates = Candidates::create([this](std::uint64_t number) -> Result<std::string> {
    const auto revisions = archive_->revisions();
    if (number >= revisions.size()) {
      return Error{"there is no rollback " + std::to_string(number) + "; the oldest is " +
                   std::to_string(revisions.empty() ? 0 : revisions.size() - 1)};
    }
    return archive_->text(revisions[number].sequence);
  });
  if (!candidates) return Error{candidates.error()};
  candidates_ = std::move(*candidates);

  const auto revisions = archive_->revisions();
  if (!revisions.empty() && revisions.front().unconfirmed) {
    const Unconfirmed& u = *revisions.front().unconfirmed;
    const StoreClock clock = store_clock();
    Nanoseconds deadline = u.until_monotonic;
    if (u.boot != clock.boot) {
      deadline = clock.monotonic + (u.until_wall > clock.wall ? u.until_wall - clock.wall : 0);
    }
    waiting_ = Waiting{u, revisions.front().sequence, deadline, revisions.front().user, false};
  }
  return ok();
}

void Controller::candidate_request(ClientId client, const Peer& peer, const std::string& command,
                                   const json& arguments) {
  auto reply = std::make_shared<json>();
  config_jobs_->run([this, client, peer, command, arguments,
                     reply] { *reply = candidates_->answer(client, peer, command, arguments); },
                    [this, client, command, reply] {
                      if ((command == "config open" || command == "config status") && waiting_)
                        (*reply)["result"]["confirm"] = confirmation_text();
                      respond(client, *reply);
                    });
}

// "revision 12 of alice goes back to revision 11 in 9m58s unless it is confirmed"
std::string Controller::confirmation_text() const {
  if (!waiting_) return {};
  const Nanoseconds now = monotonic_now();
  const std::uint64_t left =
      waiting_->deadline > now ? (waiting_->deadline - now + kSecond - 1) / kSecond : 0;
  return "revision " + std::to_string(waiting_->sequence) + " of " + waiting_->user +
         " goes back to revision " + std::to_string(waiting_->unconfirmed.return_to) + " in " +
         std::to_string(left / 60) + "m" + std::to_string(left % 60) +
         "s unless 'commit' confirms it";
}

void Controller::config_commit(ClientId client, const Peer& peer, const json& arguments) {
  constexpr unsigned kMostMinutes = 65'535;
  Commit commit;
  commit.check_only = arguments.value("check", false);
  const auto minutes = arguments.value("confirmed", std::uint64_t{0});
  if (minutes > kMostMinutes) return fail(client, "'confirmed' is at most 65535 minutes");
  commit.confirm_minutes = static_cast<unsigned>(minutes);
  commit.comment = arguments.value("comment", std::string{}).substr(0, 1000);
  commit.name = "candidate";
  commit.persist = true;
  commit.confirms = true;
  commit.candidate = client;
  commit.who = peer.user;
  commit.access = kAccessNames[static_cast<std::size_t>(peer.access)];
  commit.from = peer.from();
  commit.what = minutes > 0 ? "commit confirmed " + std::to_string(minutes) : "commit";
  commit.resolve = [this, client] {
    Candidates::ToCommit t = candidates_->to_commit(client);
    return Commit::Resolved{std::move(t.text), std::move(t.error), t.unchanged, {}, {}};
  };
  commit.done = [this, client](const json& answer) {
    // Through the executor, so that the answer comes after what the commit changed there.
    auto reply = std::make_shared<json>(answer);
    config_jobs_->run([this, client, reply] { candidates_->add_notices(client, *reply); },
                      [this, client, reply] { respond(client, *reply); });
  };
  enqueue(std::move(commit));
}

// Edits of what runs, all or none, without a candidate: made when their turn comes, so that nothing
// that was committed meanwhile is lost. They do not confirm what waits for confirmation.
void Controller::config_apply(ClientId client, const Peer& peer, const json& arguments) {
  Commit commit;
  commit.comment = arguments.value("comment", std::string{}).substr(0, 1000);
  commit.check_only = arguments.value("check", false);
  commit.name = "edit";
  commit.persist = true;
  commit.who = peer.user;
  commit.access = kAccessNames[static_cast<std::size_t>(peer.access)];
  commit.from = peer.from();
  commit.what = "edit of the running configuration";
  commit.expect = arguments.value("expect", std::string{});
  commit.resolve = [this, operations = arguments.value("operations", json::array())] {
    Candidates::ToCommit t = candidates_->edited_running(operations);
    return Commit::Resolved{std::move(t.text), std::move(t.error), t.unchanged, std::move(t.fault),
                            std::move(t.report)};
  };
  commit.done = [this, client](json answer) {
    if (answer.value("ok", false)) {
      answer["result"]["sha256"] = sha256_text(config_text_);
      answer["result"]["changed"] = config_changed_ / kSecond;
    }
    respond(client, answer);
  };
  enqueue(std::move(commit));
}

void Controller::config_history(ClientId client) {
  json result = {{"revisions", json::array()}};
  std::size_t number = 0;
  for (const Revision& r : archive_->revisions()) {
    result["revisions"].push_back({{"number", number++},
                                   {"revision", r.sequence},
                                   {"time", r.time},
                                   {"user", r.user},
                                   {"from", r.from},
                                   {"what", r.what},
                                   {"comment", r.comment},
                                   {"confirmed", !r.unconfirmed.has_value()}});
  }
  if (waiting_) result["confirm"] = confirmation_text();
  succeed(client, std::move(result));
}

// Candidates follow, and who edits is told.
void Controller::running_changed(const std::shared_ptr<Commit>& commit) {
  std::string told = commit->who + ": " + commit->what;
  if (!commit->comment.empty()) told += " (" + commit->comment + ")";
  config_jobs_->run(
      [this, text = config_text_, candidate = commit->candidate, told] {
        if (const Status s = candidates_->running_changed(text); !s) spdlog::error("{}", s.error());
        if (candidate) candidates_->committed(*candidate);
        candidates_->notify(told, candidate.value_or(0));
      },
      {});
}

void Controller::watch_confirmation() {
  if (!waiting_) return;
  // A later commit may have given it more time: then that one's timer counts.
  loop_.at(waiting_->deadline, [this] {
    if (waiting_ && monotonic_now() >= waiting_->deadline) return_now();
  });
}

// Nobody has confirmed. The configuration of before is committed like any other; when that fails it
// is tried again until it succeeds or somebody commits.
void Controller::return_now() {
  constexpr Nanoseconds kRetry = 30 * kSecond;
  if (!waiting_ || waiting_->returning) return;
  waiting_->returning = true;
  const std::uint64_t to = waiting_->unconfirmed.return_to;
  Commit commit;
  commit.name = "revision " + std::to_string(to);
  commit.persist = true;
  commit.is_return = true;
  commit.who = "sluiced";
  commit.from = "commit confirmed";
  commit.what = "return to revision " + std::to_string(to);
  commit.comment = "revision " + std::to_string(waiting_->sequence) + " of " + waiting_->user +
                   " was not confirmed in time";
  commit.resolve = [this, to] {
    auto text = archive_->text(to);
    return text ? Commit::Resolved{std::move(*text), {}, false, {}, {}}
                : Commit::Resolved{{}, text.error(), false, {}, {}};
  };
  commit.done = [this](const json& answer) {
    if (answer.value("ok", false)) {
      spdlog::warn("a commit was not confirmed in time: the configuration before it runs again");
      return;
    }
    spdlog::error("going back failed: {}", answer.value("error", std::string{}));
    if (waiting_) waiting_->returning = false;
    loop_.at(monotonic_now() + kRetry, [this] { return_now(); });
  };
  enqueue(std::move(commit));
}

// A commit without changes: confirms what waits.
void Controller::confirm(const std::shared_ptr<Commit>& commit) {
  json answer = {{"ok", true}, {"result", {{"unchanged", true}}}};
  if (commit->report.is_object()) answer["result"].update(commit->report);
  if (!waiting_ || !commit->confirms || commit->confirm_minutes > 0) {
    committing_ = false;
    if (waiting_) answer["result"]["confirm"] = confirmation_text();
    if (commit->done) commit->done(answer);
    return next_commit();
  }
  auto failure = std::make_shared<std::string>();
  disk_->run(
      [this, failure] {
        if (const Status s = archive_->confirm(); !s) *failure = s.error();
      },
      [this, commit, answer, failure]() mutable {
        if (!failure->empty()) return give_up_commit(commit, *failure);
        answer["result"]["confirmed"] = waiting_ ? waiting_->sequence : 0;
        waiting_.reset();
        audit_as(commit->who, commit->access, commit->from, "confirm commit", commit->comment);
        committing_ = false;
        if (commit->done) commit->done(answer);
        next_commit();
      });
}

}  // namespace sluice::control
