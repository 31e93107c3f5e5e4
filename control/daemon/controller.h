// The control process: what sluiced is, apart from its command line.
//
// Theory. Events come from the dataplane's rings; each is written to the log, kept for `show`, and,
// when it is a message, counted for its host. The ladder's steps and the operators' orders are
// merged, and what comes out is published twice: as a policy image to the dataplane and as block
// lists to the kernel. A new configuration is prepared off the loop (parsed, rules compiled, lists
// read), tried on the dataplane, and only then made the running one and written down; a dataplane
// that refuses it leaves everything as it was. An absent dataplane stops nothing.
//
// One thread but for the four executors: compile (rules, configurations), image, kernel, disk.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "control/api/config.h"
#include "control/api/http_server.h"
#include "control/api/server.h"
#include "control/daemon/access.h"
#include "control/daemon/candidates.h"
#include "control/daemon/captures.h"
#include "control/daemon/control_events.h"
#include "control/daemon/event_loop.h"
#include "control/daemon/recent_events.h"
#include "control/daemon/traffic_view.h"
#include "control/detect/ladder.h"
#include "control/detect/orders.h"
#include "control/events/eve.h"
#include "control/identity/prefix_list.h"
#include "control/metrics/metrics.h"
#include "control/publish/channel.h"
#include "control/publish/kernel_lists.h"
#include "control/publish/publisher.h"
#include "control/store/config_archive.h"
#include "control/store/line_log.h"
#include "control/store/message_journal.h"
#include "control/store/pattern.h"
#include "control/store/state_store.h"

namespace sluice::control {

struct ControllerOptions {
  std::filesystem::path config = "/etc/sluice/sluice.json";
  std::string dataplane_socket = contract::kDefaultDataplaneSocket;
  std::string socket;  // empty: what the configuration says
  std::filesystem::path state = "/var/lib/sluice";
  std::string eve;                  // empty: what the configuration says; "-": standard output
  OpenKernelWire open_kernel_wire;  // kernel_wires_of_loader(), or a test's
};

class Controller final : DataplaneChannel::Handler, ApiServer::Handler {
 public:
  Controller(EventLoop& loop, ControllerOptions options);
  ~Controller();
  Controller(const Controller&) = delete;
  Controller& operator=(const Controller&) = delete;

  // Reads configuration and state, opens the socket, begins to publish. Blocks while rules compile.
  Status start();
  // Reads the configuration file, its rules and lists again (SIGHUP).
  void reload(const std::string& who);

 private:
  using json = nlohmann::json;

  // ---- a new configuration (commit.cc) ----
  struct Commit {
    std::string text;        // RFC 7951 JSON
    std::string name;        // for errors
    bool recompile = false;  // read the rule files again though their names are the same
    bool persist = false;
    std::string who;
    std::string access = "admin";
    std::string from;
    std::string what;  // for the audit log
    std::string comment;
    // Makes `text` of what runs when the commit's turn has come (in the configuration executor).
    // An error refuses the commit; `unchanged` ends it without one.
    struct Resolved {
      std::string text;
      std::string error;
      bool unchanged = false;
      json fault;   // beside the error, for the answer
      json report;  // into the answer's result
    };
    std::function<Resolved()> resolve;
    json report;                        // of `resolve`
    std::string expect;                 // digest of what runs; when another runs it is refused
    bool check_only = false;            // prepare it, change nothing
    unsigned confirm_minutes = 0;       // taken back unless confirmed within; 0: stays
    bool confirms = false;              // whoever makes it confirms what waits for confirmation
    bool is_return = false;             // takes an unconfirmed commit back
    std::optional<ClientId> candidate;  // whose candidate it is
    std::function<void(const json& answer)> done;
  };
  struct Prepared;
  void enqueue(Commit commit);
  void next_commit();
  static void prepare(const Commit& commit, const std::filesystem::path& cache,
                      const std::shared_ptr<const Configuration>& before,
                      const std::shared_ptr<const CompiledRules>& rules,
                      const LoadedLists& match_lists, const Orders::Lists& last_good,
                      Prepared& out);
  void try_commit(const std::shared_ptr<Commit>& commit, const std::shared_ptr<Prepared>& prepared);
  void end_commit(const std::shared_ptr<Commit>& commit, const std::shared_ptr<Prepared>& prepared,
                  const PublishOutcome& outcome);
  void apply(const Prepared& prepared);
  Status first_configuration();
  void start_commit(const std::shared_ptr<Commit>& commit);
  void publish_commit(const std::shared_ptr<Commit>& commit,
                      const std::shared_ptr<Prepared>& prepared);
  void finish_commit(const std::shared_ptr<Commit>& commit, json answer,
                     const std::string& not_written);
  void give_up_commit(const std::shared_ptr<Commit>& commit, const std::string& error,
                      const json& fault = {});
  Revision revision_of(const Commit& commit) const;
  void add_report(const Prepared& prepared, const CompiledRules& rules, json& result) const;

  // ---- candidates, history, confirmation (config_requests.cc) ----
  Status open_archive();
  void candidate_request(ClientId client, const Peer& peer, const std::string& command,
                         const json& arguments);
  void config_commit(ClientId client, const Peer& peer, const json& arguments);
  void config_apply(ClientId client, const Peer& peer, const json& arguments);
  void config_history(ClientId client);
  void running_changed(const std::shared_ptr<Commit>& commit);
  // Of a commit that nobody has confirmed.
  void watch_confirmation();
  void return_now();
  void confirm(const std::shared_ptr<Commit>& commit);
  std::string confirmation_text() const;

  // ---- the dataplane (controller.cc) ----
  void dataplane_connected(const contract::ChannelHello& hello) override;
  void dataplane_disconnected(const std::string& reason) override;
  void policy_answered(const contract::ChannelPolicyAnswer& answer) override;
  void wire_changed(const contract::ChannelWireState& state) override;
  void dataplane_event(Bytes record) override;
  void poll_events();
  void snapshot_row(const contract::EventReader& reader);
  void snapshot_end(contract::EventReader reader);
  void finish_snapshot(bool whole);
  void message_event(const contract::EventHeader& header, contract::EventReader reader,
                     std::uint64_t event);

  // ---- decisions (controller.cc) ----
  void take(const std::vector<Change>& changes);
  void allowed_changed();
  void schedule_publish();
  void publish_now(Publisher::Done done = {});
  void expire();
  void remember(const Prefix& host);

  // ---- what lasts (lasting.cc) ----
  void start_lasting();
  void flush_standings();
  void flush_counters();
  void flush_messages();
  void store_failed(const std::string& error);
  void record(const char* type, std::string line, std::uint64_t flow = 0);
  // Who did what, from where: as an event and in the state.
  void audit(const Peer& peer, const std::string& what, const std::string& comment);
  void audit_as(const std::string& who, std::string_view access, const std::string& from,
                const std::string& what, const std::string& comment);
  EventStamp stamp() const;
  bool any_wire_enforces() const;
  policy::Mode mode_of(const std::string& wire) const;
  std::string wire_name(std::uint16_t index) const;
  void build_eve_context();
  std::vector<Metric> metrics() const;
  void emit_stats();

  // ---- requests (requests.cc, answers.cc, actions.cc) ----
  void api_request(ClientId client, const Peer& peer, const json& request) override;
  void api_client_gone(ClientId client) override;
  void respond(ClientId client, const json& answer);
  void http_ask(Peer peer, json request, std::function<void(json)> done);
  void configure_http();
  void succeed(ClientId client, json result, bool partial = false);
  void fail(ClientId client, const std::string& error);

  json show_version() const;
  json show_hosts(const json& arguments) const;
  void show_messages(ClientId client, const json& arguments);
  json messages_in_memory(const json& arguments) const;
  void show_audit(ClientId client, const json& arguments);
  void test_policy(ClientId client, const json& arguments);
  json show_events(const json& arguments) const;
  json show_policies() const;
  static json match_lists_json(const LoadedLists& loaded, std::size_t most_faults);
  std::vector<const scan::RuleInfo*> all_rules() const;
  json show_rules(const json& arguments) const;
  json show_interfaces() const;
  json show_wire(const std::string& name, const json& arguments) const;
  json show_would_have(const json& arguments) const;
  json show_stats(const json& arguments) const;
  json standing_json(const Standing& standing) const;
  json order_json(const Order& order) const;
  json treatment_json(const Treatment& treatment) const;
  json self_test() const;
  void test_wire(ClientId client, const std::string& wire, const json& arguments);
  json tech_support() const;
  void evidence(ClientId client, const Peer& peer, const json& arguments);
  void capture(ClientId client, const Peer& peer, const json& arguments);
  const InsidePrefix* inside_of(const Address& address) const;
  // The group of a host and the member prefix that decided (length 255: none).
  std::pair<const GroupSpec*, Prefix> group_of(const Address& address) const;
  Result<json> explain_host(const std::string& text) const;
  Result<json> explain_flow(const std::string& text) const;
  Result<json> explain_event(const std::string& text) const;
  void show_flows(ClientId client, const json& arguments);
  void show_config(ClientId client, const json& arguments);
  void host_order(ClientId client, const Peer& peer, const json& arguments);
  void host_release(ClientId client, const Peer& peer, const json& arguments);
  void config_load(ClientId client, const Peer& peer, const json& arguments);
  void rules_load(ClientId client, const Peer& peer, const json& arguments);
  void monitor(ClientId client, const json& arguments);

  EventLoop& loop_;
  ControllerOptions options_;
  std::uint64_t started_wall_ = 0;
  std::unique_ptr<LineLog> log_;
  std::unique_ptr<StateStore> store_;        // used by the disk executor once started
  std::unique_ptr<MessageJournal> journal_;  // used by its executor once started
  std::unique_ptr<ApiServer> api_;
  std::unique_ptr<DataplaneChannel> channel_;
  std::unique_ptr<Publisher> publisher_;
  std::unique_ptr<KernelLists> kernel_;

  std::string config_text_;
  std::uint64_t config_changed_ = 0;  // wall
  std::shared_ptr<const Configuration> config_;
  std::shared_ptr<const CompiledRules> rules_;
  LoadedLists match_lists_;
  Ladder ladder_;
  Orders orders_;
  struct ListState {
    std::size_t lines = 0;
    std::size_t prefixes = 0;
    std::size_t fault_count = 0;
    std::vector<PrefixListFault> faults;  // the first few
    std::string error;                    // of the last reading; the list before it stays
    std::uint64_t read = 0;               // wall
  };
  std::map<std::string, ListState> list_states_;

  RecentEvents recent_{20'000};
  struct PendingMessage {
    std::uint64_t event = 0;
    std::uint64_t wall = 0;
    Address source;
    std::string line;  // the EVE object
  };
  std::vector<PendingMessage> pending_messages_;  // not yet handed to the journal
  std::size_t journal_waiting_ = 0;               // handed over, not yet written
  std::uint64_t journal_dropped_ = 0;
  std::string journal_error_;
  std::unordered_set<Prefix, PrefixHash, PrefixEqual> unsaved_hosts_;  // standings that changed
  TrafficView traffic_;
  EveContext eve_;
  std::map<std::uint32_t, contract::ChannelWireState> wires_;  // as the dataplane says
  std::map<std::string, std::uint64_t> events_by_type_;
  std::uint64_t events_seen_ = 0;
  std::uint64_t host_changes_ = 0;
  std::uint64_t slow_listeners_ = 0;  // lines not pushed to slow monitors
  std::uint64_t store_errors_ = 0;
  std::string store_error_;
  bool publish_scheduled_ = false;
  Nanoseconds next_order_end_ = UINT64_MAX;

  std::deque<std::shared_ptr<Commit>> commits_;
  bool committing_ = false;
  std::unique_ptr<ConfigArchive> archive_;
  std::unique_ptr<Candidates> candidates_;  // used by the configuration executor once started
  struct Waiting {
    Unconfirmed unconfirmed;
    std::uint64_t sequence = 0;  // the revision that waits
    Nanoseconds deadline = 0;
    std::string user;
    bool returning = false;
  };
  std::optional<Waiting> waiting_;

  struct Snapshot {
    std::uint32_t identity = 0;
    std::uint32_t workers_left = 0;
    Nanoseconds deadline = 0;
    std::vector<json> rows;
    std::size_t total = 0;
    std::vector<std::pair<ClientId, std::size_t>> clients;  // and the rows each wants
  };
  std::optional<Snapshot> snapshot_;
  std::uint32_t next_snapshot_ = 1;

  std::unique_ptr<Captures> captures_;

  // The HTTP API (http_bridge.cc). Shared with its executor, which starts and stops it.
  std::shared_ptr<HttpServer> http_;
  HttpConfig http_config_;
  std::string http_error_;
  std::uint64_t http_requests_ = 0;
  std::map<ClientId, std::function<void(json)>> http_clients_;

  struct Listener {
    std::vector<std::pair<std::string, std::string>> filters;  // path in the event, text
  };
  std::map<ClientId, Listener> listeners_;

  // Last, so that they end first: what they still do must find the rest alive.
  std::unique_ptr<JobThread> config_jobs_;
  std::unique_ptr<JobThread> compile_;
  std::unique_ptr<JobThread> image_;
  std::unique_ptr<JobThread> kernel_jobs_;
  std::unique_ptr<JobThread> disk_;
  std::unique_ptr<JobThread> journal_jobs_;
  std::unique_ptr<JobThread> capture_jobs_;
  std::unique_ptr<JobThread> http_jobs_;
};

// True when `event` has each filter's text at its path ("event_type", "smtp.helo", or a leaf's own
// name); a text with * or ? is a pattern.
bool matches(const nlohmann::json& event,
             const std::vector<std::pair<std::string, std::string>>& filters);
}  // namespace sluice::control
