#include "control/daemon/controller.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "control/identity/prefix.h"
#include "dataplane/base/direction.h"

namespace sluice::control {
namespace {

constexpr Nanoseconds kBusyPoll = 10 * kMillisecond;
constexpr Nanoseconds kIdlePoll = 50 * kMillisecond;
constexpr std::size_t kEventsPerPoll = 4096;  // of each worker, before other work gets its turn
constexpr std::size_t kMaxSnapshotRows = 100'000;

std::string machine_name() {
  char name[256] = "";
  if (::gethostname(name, sizeof name - 1) != 0) return "sluice";
  return name;
}

}  // namespace

Controller::Controller(EventLoop& loop, ControllerOptions options)
    : loop_(loop), options_(std::move(options)), ladder_(DetectionConfig{}) {
  started_wall_ = wall_now();
  config_jobs_ = std::make_unique<JobThread>(loop);
  compile_ = std::make_unique<JobThread>(loop);
  image_ = std::make_unique<JobThread>(loop);
  kernel_jobs_ = std::make_unique<JobThread>(loop);
  disk_ = std::make_unique<JobThread>(loop);
  journal_jobs_ = std::make_unique<JobThread>(loop);
  capture_jobs_ = std::make_unique<JobThread>(loop);
  http_jobs_ = std::make_unique<JobThread>(loop);
  DataplaneChannel::Handler& handler = *this;
  channel_ = std::make_unique<DataplaneChannel>(options_.dataplane_socket, handler);
  publisher_ = std::make_unique<Publisher>(*channel_, *image_, monotonic_now);
  kernel_ = std::make_unique<KernelLists>(*kernel_jobs_, options_.open_kernel_wire);
}

Controller::~Controller() {
  if (!store_) return;
  flush_standings();
  flush_counters();
  flush_messages();
  if (captures_) captures_->finish();
  if (http_) http_->stop();
}

Status Controller::start() {
  auto store = StateStore::open(options_.state);
  if (!store) return Error{store.error()};
  store_ = std::move(*store);
  if (!store_->warning().empty()) spdlog::warn("{}", store_->warning());

  if (auto s = open_archive(); !s) return s;
  if (auto s = first_configuration(); !s) return s;

  // What was ordered and decided before we were last stopped.
  const StoreClock clock = store_clock();
  if (auto orders = store_->orders(clock); orders) {
    for (const Order& o : *orders) orders_.put(o);
  } else {
    return Error{orders.error()};
  }
  next_order_end_ = orders_.next_deadline();
  if (auto standings = store_->standings(clock); standings) {
    const Nanoseconds window = config_->detection.window * kSecond;
    for (Standing& s : *standings) {
      std::erase_if(s.hits, [&](const Hit& h) { return clock.monotonic - h.at >= window; });
      if (s.decided == Level::clean && s.hits.empty()) {
        unsaved_hosts_.insert(s.host);  // its evidence has aged: the row goes
      } else {
        ladder_.restore(s, clock.monotonic);
      }
    }
  } else {
    return Error{standings.error()};
  }
  if (const auto epoch = store_->value("epoch"); epoch && epoch->has_value()) {
    publisher_->raise_epoch(
        static_cast<std::uint32_t>(std::strtoul((*epoch)->c_str(), nullptr, 10)));
  }

  LineLogOptions log;
  log.file = options_.eve.empty() ? config_->events.file : std::filesystem::path(options_.eve);
  log.rotate_size = config_->events.rotate_size;
  log.rotate_keep = config_->events.rotate_keep;
  log.queue = config_->events.queue;
  log.dropped_line = [host = eve_.host](std::uint64_t n) {
    return stats_event({{"sluice_event_lines_dropped", n}}, {wall_now(), host, 0});
  };
  log_ = std::make_unique<LineLog>(std::move(log));

  auto api =
      ApiServer::listen(options_.socket.empty() ? config_->api_socket : options_.socket, *this);
  if (!api) return Error{api.error()};
  api_ = std::move(*api);
  loop_.watch(api_->fd(), [this] { api_->ready(); });
  loop_.watch(channel_->fd(), [this] { channel_->ready(monotonic_now()); });
  loop_.every(DataplaneChannel::kReconnectInterval, [this] { channel_->tick(monotonic_now()); });
  captures_ = std::make_unique<Captures>(
      options_.state / "captures", *capture_jobs_,
      [this](const contract::ChannelCapture& order) { return channel_->request_capture(order); },
      [this](const std::string& what) { audit_as("sluiced", "", "itself", what, ""); });
  loop_.every(kSecond, [this] {
    kernel_->refresh();
    captures_->tick();
    take(ladder_.tick(monotonic_now()));  // forgets the idle
    if (snapshot_ && monotonic_now() >= snapshot_->deadline) finish_snapshot(false);
  });
  // Pinned maps can be others after the loader took a wire apart and put it together.
  loop_.every(30 * kSecond, [this] { kernel_->reopen(); });
  loop_.at(monotonic_now() + kIdlePoll, [this] { poll_events(); });
  emit_stats();
  watch_confirmation();

  start_lasting();
  configure_http();

  allowed_changed();
  publish_now();
  channel_->tick(monotonic_now());
  spdlog::info("{} wires, {} rules, {} orders, {} hosts acted on; socket ready",
               config_->wires.size(), rules_->rules.size(), orders_.operators().size(),
               ladder_.acted_on_count());
  return ok();
}

// ---- the dataplane ----

void Controller::dataplane_connected(const contract::ChannelHello& hello) {
  spdlog::info("dataplane {} connected: {} workers, policy epoch {}", hello.process, hello.workers,
               hello.policy_epoch);
  wires_.clear();
  kernel_->reopen();
  publisher_->dataplane_connected(hello);
  captures_->dataplane_connected();
  record("wire", wire_event("*", "dataplane-connected", "process " + std::to_string(hello.process),
                            stamp()));
}

void Controller::dataplane_disconnected(const std::string& reason) {
  spdlog::warn("dataplane gone: {}", reason);
  publisher_->dataplane_disconnected(reason);
  finish_snapshot(false);
  record("wire", wire_event("*", "dataplane-gone", reason, stamp()));
  for (auto& [index, wire] : wires_) wire.inspecting = 0;
}

void Controller::policy_answered(const contract::ChannelPolicyAnswer& answer) {
  publisher_->policy_answered(answer);
  if (answer.status == contract::PolicyStatus::adopted) {
    disk_->run(
        [this, epoch = std::to_string(answer.epoch)] {
          [[maybe_unused]] const Status s = store_->put_value("epoch", epoch);
        },
        {});
  } else if (answer.status == contract::PolicyStatus::refused) {
    spdlog::error("dataplane refused policy {}: {}", answer.epoch, answer.reason);
    record("wire", wire_event("*", "policy-refused", answer.reason, stamp()));
  }
}

void Controller::wire_changed(const contract::ChannelWireState& state) {
  constexpr std::uint32_t kMostWires = 64;
  if (state.wire >= kMostWires) return;
  wires_[state.wire] = state;
  build_eve_context();
}

void Controller::build_eve_context() {
  eve_.host = config_->events.sensor_name.empty() ? machine_name() : config_->events.sensor_name;
  eve_.wires.clear();
  for (const WireConfig& w : config_->wires) eve_.wires.push_back({w.name, w.inside, w.outside});
  // The dataplane's own order of wires is the one that its records count by.
  for (const auto& [index, state] : wires_) {
    if (eve_.wires.size() <= index) eve_.wires.resize(index + std::size_t{1});
    eve_.wires[index] = {state.name, state.inside, state.outside};
  }
}

std::string Controller::wire_name(std::uint16_t index) const {
  return index < eve_.wires.size() ? eve_.wires[index].name : "wire" + std::to_string(index);
}

void Controller::poll_events() {
  const Nanoseconds now = monotonic_now();
  const std::size_t count = channel_->read_events(kEventsPerPoll);
  expire();
  const Nanoseconds wait = count >= kEventsPerPoll ? 0 : count > 0 ? kBusyPoll : kIdlePoll;
  loop_.at(now + wait, [this] { poll_events(); });
}

void Controller::dataplane_event(Bytes record_octets) {
  const auto reader = contract::EventReader::open(record_octets);
  if (!reader) return;
  const contract::EventHeader& header = reader->header();
  if (header.type == contract::EventType::flow_snapshot) return snapshot_row(*reader);
  if (header.type == contract::EventType::snapshot_end) return snapshot_end(*reader);
  if (header.type == contract::kCapturedFrame) return captures_->frame(*reader);
  ++events_seen_;
  std::string line = eve_json(record_octets, eve_);
  if (line.empty()) return;
  const char* type = "other";
  const std::uint64_t id = recent_.next_id();
  switch (header.type) {
    case contract::EventType::smtp:
      type = "smtp";
      break;
    case contract::EventType::alert: {
      type = "alert";
      std::uint32_t gid = 1;
      std::uint32_t sid = 0;
      contract::EventReader fields = *reader;
      while (const auto item = fields.next()) {
        if (item->field == contract::Field::alert_gid) {
          gid = static_cast<std::uint32_t>(item->number());
        } else if (item->field == contract::Field::alert_sid) {
          sid = static_cast<std::uint32_t>(item->number());
        }
      }
      traffic_.alert(gid, sid);
      break;
    }
    case contract::EventType::flow: {
      type = "flow";
      std::uint64_t octets = 0;
      contract::EventReader fields = *reader;
      while (const auto item = fields.next()) {
        if (item->field == contract::Field::bytes_to_server ||
            item->field == contract::Field::bytes_to_client) {
          octets += item->number();
        }
      }
      traffic_.flow(wire_name(header.wire), header.visibility, octets, monotonic_now());
      break;
    }
    case contract::EventType::fileinfo:
      type = "fileinfo";
      break;
    case contract::EventType::anomaly:
      type = "anomaly";
      break;
    case contract::EventType::tls:
      type = "tls";
      break;
    case contract::EventType::drop:
      type = "drop";
      break;
    case contract::EventType::wire:
      type = "wire";
      break;
    default:
      break;
  }
  if (header.type == contract::EventType::smtp) {
    constexpr std::size_t kMostPending = 65'536;
    if (pending_messages_.size() + journal_waiting_ < kMostPending) {
      pending_messages_.push_back({id, header.wall_time, header.source, line});
    } else {
      ++journal_dropped_;
    }
  }
  record(type, std::move(line), header.flow_id);
  if (header.type == contract::EventType::smtp) message_event(header, *reader, id);
}

void Controller::message_event(const contract::EventHeader& header, contract::EventReader reader,
                               std::uint64_t event) {
  MessageSeen m;
  m.client = header.source;
  m.wall = header.wall_time;
  m.event = event;
  m.flow = header.flow_id;
  m.wire = wire_name(header.wire);
  m.enforcing = mode_of(m.wire) == policy::Mode::enforce;
  contract::Verdict verdict = contract::Verdict::pass;
  bool by_host = false;
  std::int32_t score = 0;
  while (const auto item = reader.next()) {
    switch (item->field) {
      case contract::Field::verdict:
        verdict = static_cast<contract::Verdict>(item->number());
        break;
      case contract::Field::reason:
        // Refused because of what was ordered for the host: no evidence against it.
        by_host = item->text().starts_with("host-");
        break;
      case contract::Field::rule:
        if (m.why.size() < 200)
          m.why += (m.why.empty() ? "rule " : ", ") + std::string(item->text());
        break;
      case contract::Field::score:
        score = item->signed_number();
        break;
      case contract::Field::size:
        m.octets = item->number();
        break;
      case contract::Field::rcpt_to:
        ++m.recipients;
        break;
      default:
        break;
    }
  }
  m.condemned = verdict >= contract::Verdict::tempfail && !by_host;
  const bool enforced = (header.flags & contract::kEventEnforced) != 0;
  const Nanoseconds now = monotonic_now();
  traffic_.message(m.wire, m.condemned, enforced, now);
  // The ladder is for those behind the inside port; who sends to us from outside is stopped message
  // by message.
  if (header.direction != contract::TrafficDirection::outbound) return;
  if (m.condemned) {
    char text[48];
    std::snprintf(text, sizeof text, "%sscore %.2f", m.why.empty() ? "" : ", ", score / 100.0);
    m.why += text;
  }
  take(ladder_.message(m, now));
  // Evidence below the first step is kept too: a restart must not give a spammer a fresh start.
  if (m.condemned) unsaved_hosts_.insert(ladder_.host_of(m.client));
}

// ---- flow snapshots ----

void Controller::snapshot_row(const contract::EventReader& reader) {
  if (!snapshot_) return;
  ++snapshot_->total;
  if (snapshot_->rows.size() >= kMaxSnapshotRows) return;
  const contract::EventHeader& h = reader.header();
  json row = {{"flow_id", h.flow_id},
              {"src_ip", to_text(h.source)},
              {"src_port", h.source_port},
              {"dest_ip", to_text(h.destination)},
              {"dest_port", h.destination_port},
              {"wire", wire_name(h.wire)},
              {"worker", h.worker}};
  const auto direction = static_cast<std::size_t>(h.direction);
  const auto visibility = static_cast<std::size_t>(h.visibility);
  if (direction < std::size(contract::kTrafficDirectionNames)) {
    row["direction"] = contract::kTrafficDirectionNames[direction];
  }
  if (visibility < std::size(contract::kVisibilityNames)) {
    row["visibility"] = contract::kVisibilityNames[visibility];
  }
  contract::EventReader fields = reader;
  while (const auto item = fields.next()) {
    switch (item->field) {
      case contract::Field::smtp_state:
        row["state"] = printable(item->text());
        break;
      case contract::Field::app_proto:
        row["app_proto"] = printable(item->text());
        break;
      case contract::Field::flow_state:
        row["flow_state"] = printable(item->text());
        break;
      case contract::Field::flow_start:
        row["start"] = eve_timestamp(item->number());
        break;
      case contract::Field::packets_to_server:
        row["pkts_toserver"] = item->number();
        break;
      case contract::Field::packets_to_client:
        row["pkts_toclient"] = item->number();
        break;
      case contract::Field::bytes_to_server:
        row["bytes_toserver"] = item->number();
        break;
      case contract::Field::bytes_to_client:
        row["bytes_toclient"] = item->number();
        break;
      default:
        break;
    }
  }
  snapshot_->rows.push_back(std::move(row));
}

void Controller::snapshot_end(contract::EventReader reader) {
  if (!snapshot_) return;
  while (const auto item = reader.next()) {
    if (item->field != contract::Field::tx_id) continue;
    if (item->number() != snapshot_->identity) return;  // of a request that was given up
    if (--snapshot_->workers_left == 0) finish_snapshot(true);
    return;
  }
}

void Controller::finish_snapshot(bool whole) {
  if (!snapshot_) return;
  Snapshot done = std::move(*snapshot_);
  snapshot_.reset();
  for (const auto& [client, most] : done.clients) {
    json result = {{"total", done.total}, {"whole", whole}, {"flows", json::array()}};
    for (std::size_t i = 0; i < std::min(most, done.rows.size()); ++i) {
      result["flows"].push_back(done.rows[i]);
    }
    succeed(client, std::move(result), !whole);
  }
}

void Controller::show_flows(ClientId client, const json& arguments) {
  const std::size_t most = arguments.value("limit", std::size_t{1000});
  if (!channel_->connected()) return fail(client, "no dataplane: " + channel_->last_reason());
  if (!snapshot_) {
    Snapshot s;
    s.identity = next_snapshot_++;
    s.workers_left = channel_->hello().workers;
    s.deadline = monotonic_now() + 5 * kSecond;
    if (!channel_->request_snapshot(s.identity)) {
      return fail(client, "the dataplane does not take requests now");
    }
    snapshot_ = std::move(s);
  }
  snapshot_->clients.emplace_back(client, most);
}

// ---- decisions ----

EventStamp Controller::stamp() const { return {wall_now(), eve_.host, monotonic_now()}; }

policy::Mode Controller::mode_of(const std::string& wire) const {
  for (const WireConfig& w : config_->wires) {
    if (w.name == wire) return w.mode;
  }
  return policy::Mode::monitor;
}

bool Controller::any_wire_enforces() const {
  return std::any_of(config_->wires.begin(), config_->wires.end(),
                     [](const WireConfig& w) { return w.mode == policy::Mode::enforce; });
}

void Controller::record(const char* type, std::string line, std::uint64_t flow) {
  ++events_by_type_[type];
  if (log_) log_->push(line);
  const bool over_http = http_ && http_->listeners();
  if (!listeners_.empty() || over_http) {
    const json event = json::parse(line, nullptr, false);
    if (over_http && event.is_object()) http_->publish(event, line);
    for (const auto& [client, listener] : listeners_) {
      if (!event.is_object() || !matches(event, listener.filters)) continue;
      if (!api_->push(client, "{\"event\":" + line + "}")) ++slow_listeners_;
    }
  }
  recent_.add({0, wall_now(), flow, type, std::move(line)});
}

void Controller::audit(const Peer& peer, const std::string& what, const std::string& comment) {
  audit_as(peer.user, kAccessNames[static_cast<std::size_t>(peer.access)], peer.from(), what,
           comment);
}

void Controller::audit_as(const std::string& who, std::string_view access, const std::string& from,
                          const std::string& what, const std::string& comment) {
  const EventStamp now = stamp();
  record("audit", audit_event(who, from, what, comment, now));
  disk_->run(
      [this, entry = AuditEntry{0, now.wall, who, std::string(access), from, what, comment}] {
        if (const Status s = store_->put_audit(entry); !s) store_failed(s.error());
      },
      {});
}

void Controller::take(const std::vector<Change>& changes) {
  if (changes.empty()) return;
  bool publish = false;
  for (const Change& c : changes) {
    ++host_changes_;
    record("entity", entity_event(c, stamp()));
    if (c.held_back == HeldBack::no) publish = true;
    remember(c.host);
    spdlog::info(
        "host {}: {} -> {}{} ({})", to_text(c.host), kLevelNames[static_cast<std::size_t>(c.from)],
        kLevelNames[static_cast<std::size_t>(c.to)],
        c.held_back == HeldBack::no
            ? std::string{}
            : " held back: " + std::string(kHeldBackNames[static_cast<std::size_t>(c.held_back)]),
        c.arithmetic);
  }
  if (publish) schedule_publish();
}

// Writes the host's standing down, or its absence, with all that changes in this turn of the loop.
void Controller::remember(const Prefix& host) {
  unsaved_hosts_.insert(host);
  loop_.post([this] { flush_standings(); });
}

void Controller::allowed_changed() {
  take(ladder_.set_allowed([this](const Prefix& host) { return orders_.allowed(host); }));
}

void Controller::expire() {
  const Nanoseconds now = monotonic_now();
  if (ladder_.next_deadline() <= now) take(ladder_.tick(now));
  if (next_order_end_ > now) return;
  for (const Order& o : orders_.expire(now)) {
    record("entity", order_event(o, "expired", !any_wire_enforces(), stamp()));
    disk_->run(
        [this, prefix = o.prefix] {
          [[maybe_unused]] const Status s = store_->remove_order(prefix);
        },
        {});
  }
  next_order_end_ = orders_.next_deadline();
  allowed_changed();
  schedule_publish();
}

// Several changes in one turn of the loop make one image.
void Controller::schedule_publish() {
  if (publish_scheduled_) return;
  publish_scheduled_ = true;
  loop_.post([this] {
    publish_scheduled_ = false;
    publish_now();
  });
}

void Controller::publish_now(Publisher::Done done) {
  std::vector<KernelLists::Wanted> wanted;
  for (const WireConfig& w : config_->wires) {
    // By name: which ports it has is the loader's to know.
    wanted.push_back({w.name, w.mode == policy::Mode::enforce, w.failure});
  }
  const MergedOrders merged = orders_.merged(ladder_);
  kernel_->want(std::move(wanted), config_->mail_ports,
                [merged] { return merged.kernel_entries(); });
  publisher_->publish(
      {config_, rules_, match_lists_.compiled, [merged] { return merged.host_rules(); }},
      std::move(done));
}

}  // namespace sluice::control
