#include "control/daemon/candidates.h"

#include <algorithm>

#include "control/api/config.h"
#include "control/api/config_words.h"
#include "control/api/migrate.h"
#include "control/daemon/config_edits.h"
#include "control/daemon/event_loop.h"

namespace sluice::control {
namespace {

using nlohmann::json;

constexpr std::size_t kMostNotices = 20;

json good(json result = json::object()) { return {{"ok", true}, {"result", std::move(result)}}; }
json bad(const std::string& error) { return {{"ok", false}, {"error", error}}; }

constexpr std::string_view kModeNames[] = {"shared", "private", "exclusive"};

}  // namespace

Result<std::unique_ptr<Candidates>> Candidates::create(ReadRevision read_revision) {
  auto model = Model::create();
  if (!model) return Error{model.error()};
  return std::unique_ptr<Candidates>(new Candidates(std::move(*model), std::move(read_revision)));
}

Candidates::Candidates(std::unique_ptr<Model> model, ReadRevision read_revision)
    : model_(std::move(model)),
      read_revision_(std::move(read_revision)),
      running_(std::make_shared<const ConfigTree>(*model_)),
      shared_{running_, *running_, {}, {}} {}

bool Candidates::answers(const std::string& command) {
  static const std::string_view kCommands[] = {
      "config open",     "config close",          "config edit",   "config get",   "config compare",
      "config rollback", "config load-candidate", "config update", "config status"};
  return std::find(std::begin(kCommands), std::end(kCommands), command) != std::end(kCommands);
}

json Candidates::answer(ClientId client, const Peer& peer, const std::string& command,
                        const json& arguments) try {
  json reply;
  if (command == "config open") {
    reply = open(client, peer, arguments);
  } else if (command == "config close") {
    reply = close(client);
  } else if (command == "config edit") {
    reply = edit(client, peer, arguments);
  } else if (command == "config get") {
    reply = get(client, arguments);
  } else if (command == "config compare") {
    reply = compare(client, arguments);
  } else if (command == "config rollback") {
    reply = rollback(client, peer, arguments);
  } else if (command == "config load-candidate") {
    reply = load(client, peer, arguments);
  } else if (command == "config update") {
    reply = update(client);
  } else {
    reply = good({{"sessions", sessions(client)}});
  }
  add_notices(client, reply);
  return reply;
} catch (const json::exception& e) {
  return bad(std::string("malformed request: ") + e.what());
}

Candidates::Candidate& Candidates::candidate_of(ClientId client) {
  const auto found = sessions_.find(client);
  return found != sessions_.end() && found->second.own ? *found->second.own : shared_;
}

const Candidates::Session* Candidates::exclusive() const {
  for (const auto& [id, s] : sessions_) {
    if (s.mode == Mode::exclusive) return &s;
  }
  return nullptr;
}

std::string Candidates::locked_for(ClientId client) const {
  const Session* owner = exclusive();
  if (owner == nullptr) return {};
  const auto found = sessions_.find(client);
  if (found != sessions_.end() && &found->second == owner) return {};
  return owner->peer.user + " (pid " + std::to_string(owner->peer.pid) +
         ") has the configuration exclusively";
}

json Candidates::open(ClientId client, const Peer& peer, const json& arguments) {
  const std::string text = arguments.value("mode", std::string("shared"));
  const auto* found = std::find(std::begin(kModeNames), std::end(kModeNames), text);
  if (found == std::end(kModeNames)) return bad("'" + text + "': no such mode");
  const auto mode = static_cast<Mode>(found - std::begin(kModeNames));
  if (sessions_.contains(client)) return bad("this session edits the configuration already");
  if (const std::string lock = locked_for(client); !lock.empty() && mode != Mode::private_) {
    return bad(lock);
  }
  if (mode == Mode::exclusive && shared_.changed()) {
    return bad("the shared candidate has changes of " + shared_.last_user +
               " that are not committed");
  }
  json result = {{"mode", text},
                 {"others", sessions(client)},
                 {"changed", mode != Mode::private_ && shared_.changed()},
                 {"changed_by", shared_.last_user}};
  notify(peer.user + " (pid " + std::to_string(peer.pid) + ") edits the configuration too" +
         (mode == Mode::shared ? "" : ", " + text));
  Session session;
  session.peer = peer;
  session.mode = mode;
  session.since = wall_now();
  if (mode == Mode::private_) session.own = Candidate{running_, *running_, {}, {}};
  sessions_.emplace(client, std::move(session));
  return good(std::move(result));
}

json Candidates::sessions(ClientId client) const {
  json all = json::array();
  for (const auto& [id, s] : sessions_) {
    all.push_back({{"user", s.peer.user},
                   {"pid", s.peer.pid},
                   {"since", s.since},
                   {"mode", kModeNames[static_cast<std::size_t>(s.mode)]},
                   {"own", id == client}});
  }
  return all;
}

json Candidates::close(ClientId client) {
  client_gone(client);
  return good();
}

void Candidates::client_gone(ClientId client) {
  const auto found = sessions_.find(client);
  if (found == sessions_.end()) return;
  // What was edited under a lock goes with it.
  if (found->second.mode == Mode::exclusive) shared_ = Candidate{running_, *running_, {}, {}};
  sessions_.erase(found);
}

json Candidates::edit(ClientId client, const Peer& peer, const json& arguments) {
  const auto operations = arguments.find("operations");
  if (operations == arguments.end() || !operations->is_array() || operations->empty()) {
    return bad("no edits");
  }
  Candidate& candidate = candidate_of(client);
  if (&candidate == &shared_) {
    if (const std::string lock = locked_for(client); !lock.empty()) return bad(lock);
  }
  // All or nothing.
  ConfigTree tree = candidate.tree;
  for (const json& operation : *operations) {
    const auto words = words_of(operation);
    if (!words) return bad(words.error());
    const EditFault fault =
        edit_tree(tree, operation.value("operation", std::string("set")), *words);
    if (!fault.error.empty()) {
      json reply = bad(fault.error);
      reply["word"] = fault.word;
      return reply;
    }
  }
  candidate.tree = std::move(tree);
  candidate.last_user = peer.user;
  return good({{"changed", candidate.changed()}});
}

Result<ConfigTree> Candidates::revision(std::uint64_t number) const {
  if (number == 0) return *running_;
  auto text = read_revision_(number);
  if (!text) return Error{text.error()};
  return tree_of(*model_, *text, "rollback " + std::to_string(number));
}

json Candidates::get(ClientId client, const json& arguments) {
  const auto words = words_of(arguments);
  if (!words) return bad(words.error());
  const std::string form = arguments.value("form", std::string("text"));
  if (form != "text" && form != "set" && form != "json") return bad("'" + form + "': no such form");
  const std::string source = arguments.value("source", std::string("candidate"));
  const auto reply = [&](const ConfigTree& tree) -> json {
    const auto parsed = parse_config_words(*model_, *words, WordsUse::show);
    if (!parsed.error.empty()) {
      json fault = bad(parsed.error);
      fault["word"] = parsed.error_word;
      return fault;
    }
    auto text = tree_text(tree, *words, form);
    if (!text) return bad(text.error());
    return good({{"text", std::move(*text)}});
  };
  if (source == "candidate") return reply(candidate_of(client).tree);
  if (source == "running") return reply(*running_);
  if (source == "rollback") {
    const auto tree = revision(arguments.value("number", std::uint64_t{0}));
    if (!tree) return bad(tree.error());
    return reply(*tree);
  }
  return bad("'" + source + "': no such configuration");
}

json Candidates::compare(ClientId client, const json& arguments) {
  const auto words = words_of(arguments);
  if (!words) return bad(words.error());
  const auto parsed = parse_config_words(*model_, *words, WordsUse::show);
  if (!parsed.error.empty()) {
    json fault = bad(parsed.error);
    fault["word"] = parsed.error_word;
    return fault;
  }
  const auto before = revision(arguments.value("number", std::uint64_t{0}));
  if (!before) return bad(before.error());
  const ConfigTree& after = candidate_of(client).tree;
  const ConfigPath& path = parsed.targets.front();
  if (path.empty()) return good({{"text", difference(before->root(), after.root())}});
  const bool block =
      !path.back().schema->is_term() &&
      (path.back().schema->kind == SchemaNode::Kind::container || path.back().has_value);
  if (!block) return bad("a comparison is of a block: a container or an entry of a list");
  // What one of them lacks is compared with nothing.
  const ConfigNode nothing(*path.back().schema, path.back().value);
  const ConfigNode* a = node_at(*before, path);
  const ConfigNode* b = node_at(after, path);
  std::string base;
  for (const std::string& w : parsed.full) base += (base.empty() ? "" : " ") + quoted_word(w);
  return good(
      {{"text", difference(a == nullptr ? nothing : *a, b == nullptr ? nothing : *b, base)}});
}

json Candidates::rollback(ClientId client, const Peer& peer, const json& arguments) {
  Candidate& candidate = candidate_of(client);
  if (&candidate == &shared_) {
    if (const std::string lock = locked_for(client); !lock.empty()) return bad(lock);
  }
  auto tree = revision(arguments.value("number", std::uint64_t{0}));
  if (!tree) return bad(tree.error());
  // From here on it is a change of what runs now, whatever the candidate began with.
  candidate.base = running_;
  candidate.tree = std::move(*tree);
  candidate.last_user = peer.user;
  return good({{"changed", candidate.changed()}});
}

json Candidates::load(ClientId client, const Peer& peer, const json& arguments) {
  Candidate& candidate = candidate_of(client);
  if (&candidate == &shared_) {
    if (const std::string lock = locked_for(client); !lock.empty()) return bad(lock);
  }
  const std::string name = arguments.value("name", std::string("text"));
  const std::string text = arguments.value("text", std::string{});
  const std::string mode = arguments.value("mode", std::string("merge"));
  if (mode == "set") {
    ConfigTree tree = candidate.tree;
    if (auto s = apply_commands(tree, text, name); !s) return bad(s.error());
    candidate.tree = std::move(tree);
  } else if (mode == "merge" || mode == "replace") {
    auto loaded = tree_of(*model_, text, name);
    if (!loaded) return bad(loaded.error());
    if (mode == "merge") {
      candidate.tree.merge(*loaded);
    } else {
      candidate.tree = std::move(*loaded);
    }
  } else {
    return bad("'" + mode + "': no such way to load; expected merge, replace or set");
  }
  candidate.last_user = peer.user;
  return good({{"changed", candidate.changed()}});
}

json Candidates::update(ClientId client) {
  Candidate& candidate = candidate_of(client);
  if (&candidate == &shared_) {
    if (const std::string lock = locked_for(client); !lock.empty()) return bad(lock);
  }
  MergeResult merged = merge_changes(*candidate.base, candidate.tree, *running_);
  candidate.tree = std::move(merged.tree);
  candidate.base = running_;
  return good({{"conflicts", merged.conflicts}, {"changed", candidate.changed()}});
}

Candidates::ToCommit Candidates::to_commit(ClientId client) {
  ToCommit out;
  if (out.error = locked_for(client); !out.error.empty()) return out;
  Candidate& candidate = candidate_of(client);
  candidate.in_commit = candidate.tree;
  ConfigTree wanted = candidate.tree;
  if (candidate.base != running_ && !same(candidate.base->root(), running_->root())) {
    MergeResult merged = merge_changes(*candidate.base, candidate.tree, *running_);
    if (!merged.conflicts.empty()) {
      out.error = "what runs was changed meanwhile, also where this candidate changes it:";
      for (const std::string& c : merged.conflicts) out.error += "\n    " + c;
      out.error += "\n'update' takes over the other changes and keeps these; then commit again";
      return out;
    }
    wanted = std::move(merged.tree);
  }
  out.unchanged = same(wanted.root(), running_->root());
  mark_version(wanted);
  out.text = wanted.json();
  return out;
}

Candidates::ToCommit Candidates::edited_running(const json& operations) const {
  ToCommit out;
  if (const Session* owner = exclusive(); owner != nullptr) {
    out.error = owner->peer.user + " has the configuration exclusively";
    out.fault = {
        {"status", 409}, {"type", "protocol"}, {"tag", "lock-denied"}, {"message", out.error}};
    return out;
  }
  ConfigTree tree = *running_;
  ConfigEdits edits = apply_edits(*model_, tree, operations);
  out.error = std::move(edits.error);
  out.fault = std::move(edits.fault);
  out.report = std::move(edits.report);
  if (!out.error.empty()) return out;
  out.unchanged = same(tree.root(), running_->root());
  mark_version(tree);
  out.text = tree.json();
  return out;
}

void Candidates::committed(ClientId client) {
  Candidate& candidate = candidate_of(client);
  if (!candidate.in_commit) return;
  // What was edited while the commit was under way stays an edit.
  candidate.tree = same(candidate.in_commit->root(), candidate.tree.root())
                       ? *running_
                       : merge_changes(*candidate.in_commit, candidate.tree, *running_).tree;
  candidate.base = running_;
  candidate.in_commit.reset();
}

Status Candidates::running_changed(const std::string& text) {
  auto tree = tree_of(*model_, text, "running configuration");
  if (!tree) return Error{tree.error()};
  auto running = std::make_shared<const ConfigTree>(std::move(*tree));
  const auto follow = [&](Candidate& candidate) {
    if (candidate.changed()) return;
    candidate.base = running;
    candidate.tree = *running;
  };
  follow(shared_);
  for (auto& [id, session] : sessions_) {
    if (session.own) follow(*session.own);
  }
  running_ = std::move(running);
  return ok();
}

void Candidates::notify(const std::string& text, ClientId except) {
  for (auto& [id, session] : sessions_) {
    if (id == except) continue;
    if (session.notices.size() >= kMostNotices) session.notices.erase(session.notices.begin());
    session.notices.push_back(text);
  }
}

void Candidates::add_notices(ClientId client, json& reply) {
  const auto found = sessions_.find(client);
  if (found == sessions_.end() || found->second.notices.empty()) return;
  reply["notices"] = std::exchange(found->second.notices, {});
}

}  // namespace sluice::control
