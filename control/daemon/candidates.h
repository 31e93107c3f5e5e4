// Candidate configurations: what users edit before it is committed.
//
// Who opens a session gets, as on a router, the shared candidate, one of their own (private), or
// the shared one alone (exclusive). A session is a connection to the socket: when it ends, however
// it ends, so does its private candidate or its lock; the shared candidate stays. Without a session
// (one-shot commands) the shared candidate is meant.
//
// A candidate remembers the configuration that it began with. What runs may change meanwhile: a
// commit is the changes since then, made to what runs now; where both changed the same thing it is
// refused by name, until `update` has taken over the other's changes.
//
// Everybody is told of what matters to them: others who edit, commits, returns. Such notices wait
// for the session's next answer.
//
// One thread: the configuration executor of sluiced. Nothing here waits for anything.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "control/api/config_tree.h"
#include "control/api/server.h"

namespace sluice::control {

// A configuration that was committed, by its number in `rollback`; an error when there is none.
using ReadRevision = std::function<Result<std::string>(std::uint64_t number)>;

class Candidates {
 public:
  // A fault of the built-in model ends the process at start, not here.
  static Result<std::unique_ptr<Candidates>> create(ReadRevision read_revision);

  // The answer to one of: "config open", "config close", "config edit", "config get",
  // "config compare", "config rollback", "config load-candidate", "config update",
  // "config status".
  nlohmann::json answer(ClientId client, const Peer& peer, const std::string& command,
                        const nlohmann::json& arguments);
  static bool answers(const std::string& command);
  void client_gone(ClientId client);

  // What a commit of the client's candidate would make run.
  struct ToCommit {
    std::string text;
    std::string error;  // not empty: it cannot be
    bool unchanged = false;
    nlohmann::json fault;   // config_edits.h
    nlohmann::json report;  // config_edits.h
  };
  ToCommit to_commit(ClientId client);
  // What runs with edits made to it (config_edits.h), for whoever has no candidate.
  ToCommit edited_running(const nlohmann::json& operations) const;
  // The client's commit is what runs now.
  void committed(ClientId client);
  // A new configuration runs, `by` whom and why; what had no changes in it follows.
  Status running_changed(const std::string& text);
  // Told to all sessions but one, at their next answer.
  void notify(const std::string& text, ClientId except = 0);
  // Puts the waiting notices of the client into an answer.
  void add_notices(ClientId client, nlohmann::json& answer);

 private:
  struct Candidate {
    std::shared_ptr<const ConfigTree> base;
    ConfigTree tree;
    std::optional<ConfigTree> in_commit;  // as it was when its commit began
    std::string last_user;                // who edited it last
    bool changed() const { return !same(base->root(), tree.root()); }
  };
  enum class Mode : std::uint8_t { shared, private_, exclusive };
  struct Session {
    Peer peer;
    Mode mode = Mode::shared;
    std::uint64_t since = 0;  // wall, ns
    std::optional<Candidate> own;
    std::vector<std::string> notices;
  };

  Candidates(std::unique_ptr<Model> model, ReadRevision read_revision);
  Candidate& candidate_of(ClientId client);
  const Session* exclusive() const;
  // Why this client may not change the shared candidate; empty: it may.
  std::string locked_for(ClientId client) const;
  nlohmann::json open(ClientId client, const Peer& peer, const nlohmann::json& arguments);
  nlohmann::json sessions(ClientId client) const;
  nlohmann::json close(ClientId client);
  nlohmann::json edit(ClientId client, const Peer& peer, const nlohmann::json& arguments);
  nlohmann::json get(ClientId client, const nlohmann::json& arguments);
  nlohmann::json compare(ClientId client, const nlohmann::json& arguments);
  nlohmann::json rollback(ClientId client, const Peer& peer, const nlohmann::json& arguments);
  nlohmann::json load(ClientId client, const Peer& peer, const nlohmann::json& arguments);
  nlohmann::json update(ClientId client);
  Result<ConfigTree> revision(std::uint64_t number) const;

  std::unique_ptr<Model> model_;
  ReadRevision read_revision_;
  std::shared_ptr<const ConfigTree> running_;
  Candidate shared_;
  std::map<ClientId, Session> sessions_;
};

}  // namespace sluice::control
