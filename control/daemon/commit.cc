// A new configuration, from text to running: prepared off the loop, tried on the dataplane, made
// the running one, written down. One at a time; those that come meanwhile wait (case E07).
#include <spdlog/spdlog.h>

#include <iterator>

#include "control/api/migrate.h"
#include "control/daemon/controller.h"
#include "control/daemon/request_values.h"
#include "control/files/read_file.h"
#include "control/identity/prefix.h"

namespace sluice::control {

// All that a commit needs and that takes time to get.
struct Controller::Prepared {
  std::string error;               // not empty: it cannot be
  std::string text;                // as it will be written down
  std::vector<std::string> notes;  // of what was migrated
  std::shared_ptr<const Configuration> configuration;
  std::shared_ptr<const CompiledRules> rules;
  bool compiled = false;  // the rules are new
  LoadedLists match_lists;
  struct List {
    std::string name;
    PrefixList report;  // its prefixes are in `contents`
    std::string error;
  };
  std::vector<List> lists;
  Orders::Lists contents;  // of every list, also of one that could not be read anew
  std::shared_ptr<const StandingVoices> standing;

  // What was running, for the case that the dataplane refuses.
  std::string old_text;
  std::shared_ptr<const Configuration> old_configuration;
  std::shared_ptr<const CompiledRules> old_rules;
  LoadedLists old_match_lists;
  Orders old_orders;
  std::map<std::string, ListState> old_list_states;
};

void Controller::prepare(const Commit& commit, const std::filesystem::path& cache,
                         const std::shared_ptr<const Configuration>& before,
                         const std::shared_ptr<const CompiledRules>& rules,
                         const LoadedLists& match_lists, const Orders::Lists& last_good,
                         Prepared& out) {
  auto configuration = parse_configuration(commit.text, commit.name);
  if (!configuration) {
    out.error = configuration.error();
    return;
  }
  auto migrated = migrate(commit.text, commit.name);
  if (migrated) out.notes = std::move(migrated->notes);
  auto text = stored_configuration(commit.text, commit.name);
  if (!text) {
    out.error = text.error();
    return;
  }
  out.text = std::move(*text);
  out.rules = rules;
  if (rules == nullptr || commit.recompile || before == nullptr ||
      before->rule_files != configuration->rule_files) {
    auto compiled = compile_rules(configuration->rule_files, {.cache = cache});
    if (!compiled) {
      out.error = compiled.error();
      return;
    }
    // A set of which nothing is left is broken: what is live stays. (At the start nothing is.)
    if (before != nullptr && (*compiled)->rules.empty() && (*compiled)->lists.empty() &&
        (*compiled)->refused > 0) {
      const RuleFault& first =
          *std::ranges::find_if((*compiled)->faults, [](const RuleFault& f) { return f.fatal; });
      out.error = "none of the " + std::to_string((*compiled)->refused) +
                  " rules compiles, the rules in force stay; the first fault: " + first.file + ":" +
                  std::to_string(first.line) + ": " + first.text;
      return;
    }
    out.rules = std::move(*compiled);
    out.compiled = true;
  }
  auto loaded = load_match_lists(configuration->match_lists, out.rules->lists, match_lists);
  if (!loaded) {
    out.error = loaded.error();
    return;
  }
  out.match_lists = std::move(*loaded);
  for (const PrefixListConfig& l : configuration->prefix_lists) {
    Prepared::List list;
    list.name = l.name;
    auto read = read_prefix_list(l.file, {.force = l.force, .allow_empty = l.allow_empty});
    if (read) {
      out.contents[l.name] =
          std::make_shared<const std::vector<Prefix>>(std::exchange(read->prefixes, {}));
      list.report = std::move(*read);
    } else {
      list.error = read.error();
      // The last good one stays (case E07).
      if (const auto old = last_good.find(l.name); old != last_good.end()) {
        out.contents[l.name] = old->second;
      }
    }
    out.lists.push_back(std::move(list));
  }
  out.standing = Orders::merge(*configuration, out.contents);
  out.configuration = std::make_shared<const Configuration>(std::move(*configuration));
}

Status Controller::first_configuration() {
  Commit commit;
  commit.name = options_.config.string();
  if (waiting_ && waiting_->deadline <= monotonic_now()) {
    // Its time ran out while nobody was here.
    auto text = archive_->text(waiting_->unconfirmed.return_to);
    if (!text) return Error{text.error()};
    spdlog::warn("revision {} was not confirmed in time; going back to revision {}",
                 waiting_->sequence, waiting_->unconfirmed.return_to);
    commit.text = std::move(*text);
    commit.what = "return to revision " + std::to_string(waiting_->unconfirmed.return_to);
    commit.is_return = true;
  } else {
    auto text = read_file(options_.config, kMaxConfigurationSize);
    if (!text) return Error{text.error()};
    commit.text = std::move(*text);
  }
  Prepared prepared;
  prepare(commit, options_.state / "databases", nullptr, nullptr, {}, {}, prepared);
  if (!prepared.error.empty()) return Error{prepared.error};
  for (const std::string& note : prepared.notes) spdlog::info("{}: {}", commit.name, note);
  commit.who = "sluiced";
  commit.from = "start";
  if (commit.is_return) {
    waiting_.reset();
    if (auto s = archive_->prepare(revision_of(commit), prepared.text); !s) return s;
    if (auto s = archive_->finish(); !s) return s;
  } else {
    const auto revisions = archive_->revisions();
    const auto newest = revisions.empty() ? Result<std::string>(Error{})
                                          : archive_->text(revisions.front().sequence);
    if (!newest || *newest != prepared.text) {
      // Somebody changed the file by hand. What waits for confirmation still waits.
      commit.what = "file " + commit.name;
      if (auto s = archive_->record(revision_of(commit), prepared.text); !s) {
        spdlog::warn("{}", s.error());
      }
    }
  }
  apply(prepared);
  if (auto s = candidates_->running_changed(config_text_); !s) return s;
  for (const RuleFault& f : rules_->faults) {
    spdlog::warn("{}:{}: {}: {}", f.file, f.line, f.rule, f.text);
  }
  for (const auto& [name, state] : list_states_) {
    if (!state.error.empty()) spdlog::error("prefix list {}: {}", name, state.error);
  }
  for (const LoadedList& l : match_lists_.lists) {
    if (!l.error.empty()) spdlog::error("match list {}: {}", l.configured.name(), l.error);
  }
  return ok();
}

void Controller::apply(const Prepared& prepared) {
  if (config_text_ != prepared.text) config_changed_ = wall_now();
  config_text_ = prepared.text;
  config_ = prepared.configuration;
  rules_ = prepared.rules;
  match_lists_ = prepared.match_lists;
  ladder_.configure(config_->detection, config_->inside);
  orders_.set_standing(prepared.standing, prepared.contents);
  std::erase_if(list_states_, [this](const auto& l) {
    return std::none_of(config_->prefix_lists.begin(), config_->prefix_lists.end(),
                        [&](const PrefixListConfig& c) { return c.name == l.first; });
  });
  for (const Prepared::List& l : prepared.lists) {
    ListState& state = list_states_[l.name];
    state.error = l.error;
    if (!l.error.empty()) continue;
    state.lines = l.report.lines;
    state.prefixes = orders_.list_size(l.name);
    state.fault_count = l.report.fault_count;
    constexpr std::size_t kMostKept = 100;
    state.faults.assign(l.report.faults.begin(),
                        l.report.faults.begin() + static_cast<std::ptrdiff_t>(
                                                      std::min(l.report.faults.size(), kMostKept)));
    state.read = wall_now();
  }
  recent_.set_capacity(config_->events.recent);
  if (journal_) {
    journal_jobs_->run([this, most = config_->events.messages] { journal_->set_most(most); }, {});
  }
  if (log_) log_->set_rotation(config_->events.rotate_size, config_->events.rotate_keep);
  build_eve_context();
  configure_http();
}

void Controller::reload(const std::string& who) {
  Commit commit;
  commit.name = options_.config.string();
  commit.recompile = true;
  commit.who = who;
  commit.from = "signal";
  commit.what = "reload " + commit.name;
  auto text = read_file(options_.config, kMaxConfigurationSize);
  if (!text) {
    spdlog::error("{}; the running configuration stays", text.error());
    return;
  }
  commit.text = std::move(*text);
  commit.done = [this, revision = revision_of(commit)](const json& answer) mutable {
    if (answer.value("ok", false)) {
      spdlog::info("configuration reloaded");
      // The file is there already: only its revision is to be written.
      disk_->run(
          [this, revision, text = config_text_] {
            const auto revisions = archive_->revisions();
            const auto newest = revisions.empty() ? Result<std::string>(Error{})
                                                  : archive_->text(revisions.front().sequence);
            if (newest && *newest == text) return;
            if (const Status s = archive_->record(revision, text); !s)
              spdlog::warn("{}", s.error());
          },
          {});
    } else {
      spdlog::error("{}; the running configuration stays", answer.value("error", std::string{}));
    }
  };
  enqueue(std::move(commit));
}

void Controller::enqueue(Commit commit) {
  constexpr std::size_t kMostWaiting = 64;
  if (commits_.size() >= kMostWaiting) {
    if (commit.done) commit.done({{"ok", false}, {"error", "too many changes wait already"}});
    return;
  }
  commits_.push_back(std::make_shared<Commit>(std::move(commit)));
  next_commit();
}

void Controller::next_commit() {
  if (committing_ || commits_.empty()) return;
  committing_ = true;
  const auto commit = commits_.front();
  commits_.pop_front();
  if (commit->is_return && !waiting_) {  // confirmed meanwhile
    committing_ = false;
    return next_commit();
  }
  if (!commit->resolve) return start_commit(commit);
  if (!commit->expect.empty() && !sha256_text(config_text_).starts_with(commit->expect)) {
    return give_up_commit(commit, "changed meanwhile: the running configuration is another");
  }
  // What it changes is made of what runs now, not of what ran when it was asked for.
  auto resolved = std::make_shared<Commit::Resolved>();
  config_jobs_->run([commit, resolved] { *resolved = commit->resolve(); },
                    [this, commit, resolved] {
                      if (!resolved->error.empty()) {
                        return give_up_commit(commit, resolved->error, resolved->fault);
                      }
                      commit->report = std::move(resolved->report);
                      if (resolved->unchanged && !commit->check_only) return confirm(commit);
                      commit->text = std::move(resolved->text);
                      start_commit(commit);
                    });
}

void Controller::start_commit(const std::shared_ptr<Commit>& commit) {
  auto prepared = std::make_shared<Prepared>();
  compile_->run(
      [commit, prepared, cache = options_.state / "databases", before = config_, rules = rules_,
       match_lists = match_lists_, lists = orders_.lists()] {
        prepare(*commit, cache, before, rules, match_lists, lists, *prepared);
      },
      [this, commit, prepared] { try_commit(commit, prepared); });
}

void Controller::give_up_commit(const std::shared_ptr<Commit>& commit, const std::string& error,
                                const json& fault) {
  committing_ = false;
  json answer = {{"ok", false}, {"error", error}};
  if (!fault.is_null()) answer["fault"] = fault;
  if (commit->done) commit->done(answer);
  next_commit();
}

Revision Controller::revision_of(const Commit& commit) const {
  Revision r;
  r.time = wall_now();
  r.user = commit.who;
  r.from = commit.from;
  r.what = commit.what;
  r.comment = commit.comment;
  const auto revisions = archive_->revisions();
  if (commit.confirm_minutes > 0) {
    const StoreClock clock = store_clock();
    const std::uint64_t left = std::uint64_t{commit.confirm_minutes} * 60 * kSecond;
    Unconfirmed u;
    // A second one before the first is confirmed goes back to where the first would.
    u.return_to = waiting_            ? waiting_->unconfirmed.return_to
                  : revisions.empty() ? 0
                                      : revisions.front().sequence;
    u.until_monotonic = clock.monotonic + left;
    u.until_wall = clock.wall + left;
    u.boot = clock.boot;
    r.unconfirmed = std::move(u);
  } else if (waiting_ && !commit.confirms && !commit.is_return) {
    r.unconfirmed = waiting_->unconfirmed;  // still waits
  }
  return r;
}

// What can fail for want of room on the disk is done before anything has changed.
void Controller::try_commit(const std::shared_ptr<Commit>& commit,
                            const std::shared_ptr<Prepared>& prepared) {
  if (!prepared->error.empty()) return give_up_commit(commit, prepared->error);
  if (commit->check_only) {
    committing_ = false;
    json result = {{"checked", true}, {"notes", prepared->notes}};
    add_report(*prepared, *prepared->rules, result);
    const bool partial = result.value("partial", false);
    result.erase("partial");
    json answer = {{"ok", true}, {"result", std::move(result)}};
    if (partial) answer["partial"] = true;
    if (commit->done) commit->done(answer);
    return next_commit();
  }
  if (!commit->persist) return publish_commit(commit, prepared);
  auto failure = std::make_shared<std::string>();
  disk_->run(
      [this, revision = revision_of(*commit), prepared, failure] {
        if (const Status s = archive_->prepare(revision, prepared->text); !s) *failure = s.error();
      },
      [this, commit, prepared, failure] {
        if (!failure->empty()) {
          return give_up_commit(commit, "it cannot be written down: " + *failure);
        }
        publish_commit(commit, prepared);
      });
}

void Controller::publish_commit(const std::shared_ptr<Commit>& commit,
                                const std::shared_ptr<Prepared>& prepared) {
  prepared->old_text = config_text_;
  prepared->old_configuration = config_;
  prepared->old_rules = rules_;
  prepared->old_match_lists = match_lists_;
  prepared->old_orders = orders_;
  prepared->old_list_states = list_states_;
  apply(*prepared);
  allowed_changed();
  publish_now([this, commit, prepared](const PublishOutcome& outcome) {
    end_commit(commit, prepared, outcome);
  });
}

void Controller::end_commit(const std::shared_ptr<Commit>& commit,
                            const std::shared_ptr<Prepared>& prepared,
                            const PublishOutcome& outcome) {
  if (outcome.status == PublishOutcome::Status::refused) {
    config_text_ = prepared->old_text;
    config_ = prepared->old_configuration;
    rules_ = prepared->old_rules;
    match_lists_ = prepared->old_match_lists;
    // Orders that operators gave meanwhile are of now, not of then.
    const std::vector<Order> now = orders_.operators();
    orders_ = prepared->old_orders;
    for (const Order& o : orders_.operators()) orders_.remove(o.prefix);
    for (const Order& o : now) orders_.put(o);
    list_states_ = prepared->old_list_states;
    ladder_.configure(config_->detection, config_->inside);
    build_eve_context();
    configure_http();
    allowed_changed();
    publish_now();
    if (commit->persist) disk_->run([this] { archive_->abandon(); }, {});
    return give_up_commit(commit, "the dataplane refused it: " + outcome.reason);
  }
  // What ran before may be lists of a million entries: it is freed off the loop.
  compile_->run(
      [orders = std::move(prepared->old_orders), lists = std::move(prepared->old_match_lists),
       rules = std::move(prepared->old_rules)] {},
      {});
  json answer = {{"ok", true}, {"result", json::object()}};
  json& result = answer["result"];
  add_report(*prepared, *rules_, result);
  if (result.value("partial", false)) answer["partial"] = true;
  result.erase("partial");
  if (!prepared->notes.empty()) result["notes"] = prepared->notes;
  if (outcome.status == PublishOutcome::Status::adopted) {
    result["dataplane"] = "adopted";
    result["epoch"] = outcome.epoch;
    result["adoption_seconds"] = static_cast<double>(outcome.nanoseconds) / 1e9;
  } else {
    result["dataplane"] = "absent: " + outcome.reason;
  }
  audit_as(commit->who, commit->access, commit->from, commit->what, commit->comment);
  if (!commit->persist) return finish_commit(commit, std::move(answer), {});
  auto failure = std::make_shared<std::string>();
  disk_->run(
      [this, failure] {
        if (const Status s = archive_->finish(); !s) *failure = s.error();
      },
      [this, commit, answer = std::move(answer), failure]() mutable {
        finish_commit(commit, std::move(answer), *failure);
      });
}

// What the rules and the lists say, for the answer; "partial" when something was refused.
void Controller::add_report(const Prepared& prepared, const CompiledRules& rules,
                            json& result) const {
  bool partial = false;
  result["rules"] = rules.rules.size();
  result["rules_refused"] = rules.refused;
  result["compile_seconds"] = prepared.compiled ? rules.compile_seconds : 0.0;
  result["faults"] = json::array();
  constexpr std::size_t kMostTold = 200;
  if (prepared.compiled) {
    for (const RuleFault& f : rules.faults) {
      if (f.fatal) partial = true;
      if (result["faults"].size() >= kMostTold) break;
      result["faults"].push_back({{"file", f.file},
                                  {"line", f.line},
                                  {"rule", f.rule},
                                  {"text", f.text},
                                  {"fatal", f.fatal}});
    }
  }
  result["lists"] = json::array();
  for (const Prepared::List& l : prepared.lists) {
    if (!l.error.empty() || l.report.fault_count > 0) partial = true;
    const auto contents = prepared.contents.find(l.name);
    json list = {{"name", l.name},
                 {"prefixes", contents == prepared.contents.end() ? 0 : contents->second->size()},
                 {"lines", l.report.lines},
                 {"bad_lines", l.report.fault_count},
                 {"error", l.error},
                 {"faults", json::array()}};
    for (const PrefixListFault& f : l.report.faults) {
      if (list["faults"].size() >= 20) break;
      list["faults"].push_back({{"line", f.line}, {"text", f.text}});
    }
    result["lists"].push_back(std::move(list));
  }
  result["match_lists"] = match_lists_json(prepared.match_lists, 20);
  for (const LoadedList& l : prepared.match_lists.lists) {
    if (!l.error.empty() || (l.list && l.list->fault_count > 0)) partial = true;
  }
  if (partial) result["partial"] = true;
}

// The dataplane runs it and the disk has it (or says why not).
void Controller::finish_commit(const std::shared_ptr<Commit>& commit, json answer,
                               const std::string& not_written) {
  if (!not_written.empty()) {
    answer["partial"] = true;
    answer["result"]["not_written"] = not_written;
  }
  if (commit->report.is_object()) answer["result"].update(commit->report);
  if (commit->persist) {
    const auto revisions = archive_->revisions();
    if (!revisions.empty()) {
      const Revision& newest = revisions.front();
      answer["result"]["revision"] = newest.sequence;
      if (!newest.unconfirmed) {
        waiting_.reset();
      } else {
        const std::string user =
            commit->confirm_minutes > 0 || !waiting_ ? commit->who : waiting_->user;
        const Nanoseconds deadline = commit->confirm_minutes > 0 || !waiting_
                                         ? newest.unconfirmed->until_monotonic
                                         : waiting_->deadline;
        waiting_ = Waiting{*newest.unconfirmed, newest.sequence, deadline, user, false};
        watch_confirmation();
        answer["result"]["confirm"] = confirmation_text();
      }
    }
  }
  running_changed(commit);
  committing_ = false;
  if (commit->done) commit->done(answer);
  next_commit();
}

// ---- what operators ask for ----

void Controller::config_load(ClientId client, const Peer& peer, const json& arguments) {
  Commit commit;
  commit.text = arguments.value("text", std::string{});
  commit.name = arguments.value("name", std::string{"configuration"});
  commit.persist = true;
  commit.recompile = true;
  commit.who = peer.user;
  commit.access = kAccessNames[static_cast<std::size_t>(peer.access)];
  commit.from = peer.from();
  commit.what = "config load " + commit.name;
  commit.confirms = true;
  commit.comment = arguments.value("comment", std::string{});
  commit.done = [this, client](const json& answer) { respond(client, answer); };
  enqueue(std::move(commit));
}

void Controller::rules_load(ClientId client, const Peer& peer, const json& arguments) {
  json text = json::parse(config_text_, nullptr, false);
  if (!text.is_object()) text = json::object();
  Commit commit;
  commit.what = "rules load";
  if (const auto files = arguments.find("files");
      files != arguments.end() && files->is_array() && !files->empty()) {
    json& root = text["sluice:sluice"];
    root["rules"]["file"] = json::array();
    root["rules"].erase("@file");
    for (const json& f : *files) {
      if (!f.is_string()) return fail(client, "a file name is not a text");
      root["rules"]["file"].push_back(f);
      commit.what += " " + f.get<std::string>();
    }
    commit.persist = true;
  }
  commit.text = text.dump();
  commit.name = "running configuration";
  commit.recompile = true;
  commit.who = peer.user;
  commit.access = kAccessNames[static_cast<std::size_t>(peer.access)];
  commit.from = peer.from();
  commit.comment = arguments.value("comment", std::string{});
  commit.done = [this, client](const json& answer) { respond(client, answer); };
  enqueue(std::move(commit));
}

}  // namespace sluice::control
