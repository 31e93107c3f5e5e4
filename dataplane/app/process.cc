#include "dataplane/app/process.h"

#include <poll.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_ring.h>
#include <spdlog/spdlog.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "dataplane/app/scheduling.h"
#include "dataplane/io/eal.h"
#include "dataplane/io/mbuf_pool.h"

namespace sluice::app {

namespace {

constexpr std::uint64_t kRingCapacity = std::uint64_t{4} << 20;
constexpr unsigned kHandoverFrames = 2048;
constexpr int kWatchMilliseconds = 200;
constexpr std::size_t kMiB = std::size_t{1} << 20;
constexpr std::size_t kFlowEntryOctets = 256;

std::uint64_t wall_clock() {
  timespec t{};
  clock_gettime(CLOCK_REALTIME, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * kSecond + static_cast<std::uint64_t>(t.tv_nsec);
}

// Tells a service manager, when there is one (sd_notify(3), without its library).
void notify(const char* state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr || path[0] == 0) return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t size = std::strlen(path);
  if (size >= sizeof address.sun_path) return;
  std::memcpy(address.sun_path, path, size);
  if (address.sun_path[0] == '@') address.sun_path[0] = 0;
  const int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return;
  sendto(descriptor, state, std::strlen(state), MSG_NOSIGNAL,
         reinterpret_cast<const sockaddr*>(&address),
         static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + size));
  ::close(descriptor);
}

template <std::size_t N>
void put_text(char (&field)[N], std::string_view text) {
  text.copy(field, N - 1);
}

bool is_af_xdp(const WireOptions& wire) { return wire.driver == io::Driver::af_xdp; }

int worker_main(void* worker) { return static_cast<Worker*>(worker)->run(); }

}  // namespace

Process::Process(const Options& options) : options_(options), watched_(options.wires.size()) {}

Process::~Process() = default;

Status Process::run() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const int descriptor = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  Status result = start();
  if (result) {
    say_ready();
    result = watch(descriptor);
    notify("STOPPING=1");
  }
  stop();
  ::close(descriptor);
  return result;
}

// Ready means that mail passes: not before every port has its link (case D14).
void Process::say_ready() {
  if (ready_) return;
  for (const WirePorts& wire : shared_.wires) {
    for (const auto& port : wire.ports) {
      if (port->up()) continue;
      if (awaited_ != port.get()) {
        spdlog::warn("wire {}: forwarding; not ready until {} has a link", wire.name, port->name());
      }
      awaited_ = port.get();
      return;
    }
  }
  ready_ = true;
  spdlog::info("ready: {} wire(s), {} worker(s), control at {}", options_.wires.size(),
               options_.workers, options_.socket);
  notify("READY=1");
}

Status Process::detach() {
  for (const WireOptions& wire : options_.wires) {
    if (Status gone = xdp::Wire::detach(wire.name, options_.bpffs); !gone) {
      return Error{"wire " + wire.name + ": " + gone.error()};
    }
    spdlog::info("wire {} is out of the kernel", wire.name);
  }
  return ok();
}

// ---- start ----

Status Process::start() {
  start_time_ = wall_clock();
  const std::vector<unsigned> allowed = io::allowed_cpus();
  own_cpus_ = own_cpus(worker_cpus(options_, allowed), allowed);
  if (own_cpus_) favour_session();
  Result<event::ControlSocket> socket = event::ControlSocket::listen(options_.socket);
  if (!socket) return Error{socket.error()};
  control_socket_ = std::make_unique<event::ControlSocket>(std::move(*socket));
  if (Status done = attach_wires(); !done) return done;
  start_guardian();
  if (Status done = open_ports(); !done) return done;
  if (Status done = start_workers(); !done) return done;
  Result<io::LinkWatch> links = io::LinkWatch::open();
  if (!links) return Error{links.error()};
  links_ = std::make_unique<io::LinkWatch>(std::move(*links));
  check_kernel();
  start_control();
  return ok();
}

Status Process::attach_wires() {
  shared_.wires.resize(options_.wires.size());
  for (std::size_t i = 0; i < options_.wires.size(); ++i) {
    WireOptions& wire = options_.wires[i];
    WirePorts& ports = shared_.wires[i];
    ports.name = wire.name;
    ports.fail_closed = wire.fail_closed;
    if (io::has_interface(wire.driver)) {
      for (const io::PortSettings& port : wire.ports) {
        Result<io::InterfaceState> state = io::interface_state(port.device);
        if (!state) return Error{"wire " + wire.name + ": " + state.error()};
      }
    }
    if (wire.driver == io::Driver::af_packet) {
      spdlog::warn(
          "wire {}: driver=af_packet is for trying things out: the kernel forwards nothing "
          "without us, and VLAN tags other than 8100 are not kept",
          wire.name);
    }
    if (!is_af_xdp(wire)) continue;
    const bool front = wire.xdp_mode == xdp::AttachMode::front;
    const unsigned queues = front ? std::min<unsigned>(options_.workers, STEER_MAX_QUEUES)
                                  : io::interface_queues(wire.ports[0].device);
    const unsigned other = front ? queues : io::interface_queues(wire.ports[1].device);
    if (queues != other || queues > STEER_MAX_QUEUES) {
      return Error{"wire " + wire.name + ": port " + wire.ports[0].device + " has " +
                   std::to_string(queues) + " queues and " + wire.ports[1].device + " has " +
                   std::to_string(other) + "; they are served in pairs, 64 at most: `ethtool -L " +
                   wire.ports[queues > other ? 0 : 1].device + " combined " +
                   std::to_string(std::min({queues, other, unsigned{STEER_MAX_QUEUES}})) + "`"};
    }
    for (const io::PortSettings& port : wire.ports) {
      const unsigned receive = io::interface_receive_queues(port.device);
      if (front || receive <= queues) continue;
      return Error{
          "wire " + wire.name + ": port " + port.device + " has " + std::to_string(receive) +
          " receive queues, and AF_XDP can serve " + std::to_string(queues) +
          " of them; mail on the others would pass uninspected: " + "`ethtool -L " + port.device +
          " rx " + std::to_string(queues) + " tx " + std::to_string(queues) + "`"};
    }
    xdp::WireConfig config;
    config.name = wire.name;
    config.inside = wire.ports[0].device;
    config.outside = wire.ports[1].device;
    config.mail_ports = options_.mail_ports;
    config.failure = wire.fail_closed ? xdp::FailurePolicy::closed : xdp::FailurePolicy::open;
    config.heartbeat_timeout = options_.heartbeat_timeout;
    config.queues = queues;
    config.watermark = wire.watermark;
    config.mode = wire.xdp_mode;
    config.unequal_mtu = wire.unequal_mtu ? xdp::UnequalMtu::warn : xdp::UnequalMtu::refuse;
    config.mtu = wire.mtu;
    config.mirror_link = wire.mirror_link;
    Result<xdp::Wire> attached = xdp::Wire::attach(config, options_.bpffs);
    if (!attached) return Error{"wire " + wire.name + ": " + attached.error()};
    for (const std::string& warning : attached->warnings()) {
      spdlog::warn("wire {}: {}", wire.name, warning);
    }
    spdlog::info("wire {}: {} the kernel's part on {} and {}", wire.name,
                 attached->adopted() ? "took over" : "attached", config.inside, config.outside);
    for (const Side side : {Side::inside, Side::outside}) {
      io::PortSettings& port = wire.ports[static_cast<std::size_t>(side)];
      if (front) port.socket_interface = attached->socket_interface(side);
    }
    ports.kernel = std::make_unique<xdp::Wire>(std::move(*attached));
  }
  return ok();
}

// Speed only: without it the heartbeat's timeout does the work.
// A quarter of the lowest watermark: three more such subscribers, and it is reached.
std::size_t Process::crowd_frames() const {
  std::size_t least = 0;
  for (const WireOptions& wire : options_.wires) {
    if (wire.watermark == 0) continue;
    const std::size_t frames =
        std::max<std::size_t>(io::Backlog::kCapacity * wire.watermark / 4000, 1);
    least = least == 0 ? frames : std::min(least, frames);
  }
  return least;
}

void Process::start_guardian() {
  std::vector<Guardian::Page> pages;
  for (const WirePorts& wire : shared_.wires) {
    if (!wire.kernel) continue;
    Result<xdp::Heartbeat> page = wire.kernel->map_heartbeat();
    Result<xdp::WireState> state = wire.kernel->state();
    if (page && state) pages.push_back({std::move(*page), state->queues});
  }
  if (pages.empty()) return;
  Result<std::unique_ptr<Guardian>> guardian =
      Guardian::start(options_.workers, pages, worker_cpus(options_, io::allowed_cpus()));
  if (!guardian) {
    spdlog::warn("{}; a death is noticed by the heartbeat's timeout only", guardian.error());
    return;
  }
  guardian_ = std::move(*guardian);
  shared_.guardian = guardian_.get();
}

Status Process::open_ports() {
  io::EalSettings eal;
  std::size_t queues = 0;
  for (const WireOptions& wire : options_.wires) {
    for (const io::PortSettings& port : wire.ports) {
      queues += wire.driver == io::Driver::af_xdp   ? io::interface_queues(port.bound())
                : wire.driver == io::Driver::native ? options_.workers
                                                    : 1;
      if (wire.driver == io::Driver::native) eal.pci_devices.push_back(port.device);
    }
  }
  const std::size_t buffers = queues * io::kBuffersPerQueue +
                              std::size_t{options_.workers} * (2048 + io::Backlog::kCapacity) +
                              2048;
  eal.memory_mib = buffers * 4096 / kMiB + buffers / 8192 + 40;
  eal.worker_cpus = worker_cpus(options_, io::allowed_cpus());
  eal.verbose = options_.verbose;
  eal.huge_pages =
      options_.huge_pages == HugePages::on || (options_.huge_pages == HugePages::automatic &&
                                               io::free_huge_page_mib() >= eal.memory_mib + 32);
  if (Status started = io::start_eal(eal); !started) return started;
  Result<rte_mempool*> pool = io::make_mbuf_pool(buffers);
  if (!pool) return Error{pool.error()};
  shared_.pool = *pool;

  unsigned index = 0;
  for (std::size_t i = 0; i < options_.wires.size(); ++i) {
    WirePorts& wire = shared_.wires[i];
    for (const Side side : {Side::inside, Side::outside}) {
      const auto s = static_cast<std::size_t>(side);
      Result<std::unique_ptr<io::Port>> port =
          io::Port::open(options_.wires[i].ports[s], index++, options_.workers, shared_.pool);
      if (!port) return Error{"wire " + wire.name + ": " + port.error()};
      wire.ports[s] = std::move(*port);
      for (std::uint16_t queue = 0; queue < wire.ports[s]->queues(); ++queue) {
        wire.transmit[s].push_back(std::make_unique<io::TransmitQueue>(
            *wire.ports[s], queue, options_.workers > wire.ports[s]->queues()));
        if (!wire.kernel) continue;
        if (Status put = wire.kernel->put_socket(side, queue, wire.ports[s]->descriptor(queue));
            !put) {
          return Error{"wire " + wire.name + ": " + put.error()};
        }
      }
    }
  }
  return ok();
}

Status Process::start_workers() {
  const unsigned count = options_.workers;
  Result<event::StatisticsObject> statistics = event::StatisticsObject::create(count);
  if (!statistics) return Error{statistics.error()};
  statistics_ = std::make_unique<event::StatisticsObject>(std::move(*statistics));
  Result<event::EventRings> rings = event::EventRings::create(count, kRingCapacity);
  if (!rings) return Error{rings.error()};
  rings_ = std::make_unique<event::EventRings>(std::move(*rings));
  policies_ = std::make_unique<PolicyStore>(count, policy::default_policy());
  shared_.policies = policies_.get();
  shared_.spread = io::random_spread_key();
  if (count > 1) {
    shared_.handover.assign(count, std::vector<rte_ring*>(count, nullptr));
    for (unsigned to = 0; to < count; ++to) {
      for (unsigned from = 0; from < count; ++from) {
        if (to == from) continue;
        const std::string name = "to" + std::to_string(to) + "from" + std::to_string(from);
        rte_ring* ring = rte_ring_create(name.c_str(), kHandoverFrames, SOCKET_ID_ANY,
                                         RING_F_SP_ENQ | RING_F_SC_DEQ);
        if (ring == nullptr) {
          return Error{std::string("no ring between workers: ") + rte_strerror(rte_errno)};
        }
        shared_.handover[to][from] = ring;
      }
    }
  }
  std::uint64_t seed = 0;
  if (getrandom(&seed, sizeof seed, 0) != static_cast<ssize_t>(sizeof seed)) seed = start_time_;
  flow::HashKey hash_secret;
  if (getrandom(&hash_secret, sizeof hash_secret, 0) != static_cast<ssize_t>(sizeof hash_secret))
    return Error{"the kernel gives no random octets for the secret of the flow table"};
  for (unsigned i = 0; i < count; ++i) {
    WorkerSettings settings;
    settings.index = i;
    settings.workers = count;
    settings.busy_poll = options_.busy_poll;
    settings.own_cpu = own_cpus_;
    settings.crowd = crowd_frames();
    settings.hang = options_.heartbeat_timeout;
    for (const WireOptions& wire : options_.wires) settings.engine.wires.push_back(wire.name);
    settings.engine.max_flows = std::max<std::size_t>(options_.max_flows / count, 1024);
    settings.engine.max_memory = options_.memory_mib * kMiB / count;
    settings.engine.verify_checksums = options_.verify_checksums;
    settings.engine.worker = static_cast<std::uint16_t>(i);
    settings.engine.flow_id_seed = seed + i * 0x9e3779b97f4a7c15u;
    settings.engine.hash_secret = hash_secret;
    // The engine's own bound is max_memory; its flow table and fixed parts come on top.
    Result<std::unique_ptr<mem::WorkerMemory>> memory =
        mem::WorkerMemory::create(settings.engine.max_memory + settings.engine.max_memory / 8 +
                                      settings.engine.max_flows * kFlowEntryOctets + 64 * kMiB,
                                  options_.huge_pages == HugePages::on, options_.prefault);
    if (!memory) return Error{memory.error()};
    workers_.push_back(std::make_unique<Worker>(settings, shared_, std::move(*memory),
                                                statistics_->worker(i), rings_->memory(i),
                                                rings_->capacity()));
    shared_.workers.push_back(workers_.back().get());
  }
  launched_ = true;
  for (unsigned i = 0; i < count; ++i) {
    if (rte_eal_remote_launch(worker_main, workers_[i].get(), i + 1) != 0) {
      return Error{"worker " + std::to_string(i) + " cannot be launched on lcore " +
                   std::to_string(i + 1)};
    }
  }
  while (shared_.running.load(std::memory_order_acquire) < count) {
    for (unsigned i = 0; i < count; ++i) {
      if (rte_eal_get_lcore_state(i + 1) == WAIT && !workers_[i]->failure().empty()) {
        return Error{workers_[i]->failure()};
      }
    }
    usleep(200);
  }
  return ok();
}

void Process::start_control() {
  event::ControlHandlers handlers;
  handlers.greet = [this](contract::ChannelHello& hello) { greet(hello); };
  handlers.publish = [this](Bytes image, std::uint32_t epoch) { return publish(image, epoch); };
  handlers.snapshot = [this](std::uint32_t identity) {
    for (const auto& worker : workers_) {
      worker->mailbox().send(event::Letter::snapshot(identity));
      worker->wake();
    }
  };
  handlers.capture = [this](const contract::ChannelCapture& order) {
    for (const auto& worker : workers_) {
      worker->mailbox().send(event::Letter::capture_order(order));
      worker->wake();
    }
  };
  handlers.wires = [this] { return wire_states(); };
  server_ =
      std::make_unique<event::ControlServer>(std::move(*control_socket_), statistics_->descriptor(),
                                             rings_->descriptor(), std::move(handlers));
}

// ---- control channel, on the server's thread ----

void Process::greet(contract::ChannelHello& hello) {
  hello.workers = options_.workers;
  hello.wires = static_cast<std::uint32_t>(options_.wires.size());
  hello.ring_capacity = rings_->capacity();
  hello.statistics_size = statistics_->size();
  hello.start_time = start_time_;
  hello.policy_epoch = epoch_.load(std::memory_order_acquire);
  hello.process = static_cast<std::uint32_t>(getpid());
  const std::lock_guard hold(publishing_);
  std::memcpy(hello.ruleset_digest, ruleset_digest_.data(), ruleset_digest_.size());
}

event::PolicyReply Process::publish(Bytes image, std::uint32_t epoch) {
  const std::lock_guard hold(publishing_);
  const PolicyStore::Outcome outcome = policies_->publish(image, epoch, [this] {
    for (const auto& worker : workers_) worker->wake();
  });
  event::PolicyReply reply;
  reply.nanoseconds = outcome.nanoseconds;
  reply.reason = outcome.reason;
  if (outcome.adopted) {
    reply.status = contract::PolicyStatus::adopted;
    epoch_.store(epoch, std::memory_order_release);
    ruleset_digest_ = policies_->latest().ruleset_digest();
    tell(0, "policy-adopted",
         "epoch " + std::to_string(epoch) + " after " +
             std::to_string(outcome.nanoseconds / kMicrosecond) + " us");
  } else if (outcome.needs_ruleset) {
    reply.status = contract::PolicyStatus::needs_ruleset;
  } else {
    reply.status = contract::PolicyStatus::refused;
    spdlog::warn("policy {} refused: {}", epoch, outcome.reason);
    tell(0, "policy-refused", "epoch " + std::to_string(epoch) + ": " + outcome.reason);
  }
  return reply;
}

std::vector<contract::ChannelWireState> Process::wire_states() {
  std::vector<contract::ChannelWireState> states;
  for (std::size_t i = 0; i < shared_.wires.size(); ++i) {
    const WirePorts& wire = shared_.wires[i];
    contract::ChannelWireState state;
    state.wire = static_cast<std::uint32_t>(i);
    put_text(state.name, wire.name);
    put_text(state.inside, wire.ports[0]->name());
    put_text(state.outside, wire.ports[1]->name());
    put_text(state.driver, io::name(wire.ports[0]->driver()));
    state.inside_up = wire.ports[0]->up() ? 1 : 0;
    state.outside_up = wire.ports[1]->up() ? 1 : 0;
    state.inspecting = watched_[i].inspecting.load(std::memory_order_relaxed) ? 1 : 0;
    states.push_back(state);
  }
  return states;
}

// ---- watching, on the main thread ----

// A wire event, in the ring of the first worker.
void Process::tell(std::size_t wire, std::string_view state, const std::string& reason) {
  if (workers_.empty()) return;
  workers_[0]->mailbox().send(
      event::Letter::wire_event(static_cast<std::uint16_t>(wire), state, reason));
  workers_[0]->wake();
}

Status Process::watch(int signals) {
  pollfd waiting[] = {{signals, POLLIN, 0}, {links_->descriptor(), POLLIN, 0}};
  for (;;) {
    const int ready = poll(waiting, 2, kWatchMilliseconds);
    if (ready < 0 && errno != EINTR) return Error{std::string("poll: ") + std::strerror(errno)};
    if (ready > 0 && (waiting[0].revents & POLLIN) != 0) {
      signalfd_siginfo info{};
      if (read(signals, &info, sizeof info) == sizeof info) {
        spdlog::info("stopping on {}", info.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT");
        return ok();
      }
    }
    if (ready > 0 && (waiting[1].revents & POLLIN) != 0) links_->changed();
    check_links();
    check_kernel();
    say_ready();
    if (publishing_.try_lock()) {
      policies_->reclaim();
      publishing_.unlock();
    }
  }
}

void Process::check_links() {
  bool changed = false;
  for (std::size_t i = 0; i < shared_.wires.size(); ++i) {
    WirePorts& wire = shared_.wires[i];
    for (const auto& port : wire.ports) {
      if (!port->refresh()) continue;
      changed = true;
      spdlog::warn("wire {}: link of {} is {}", wire.name, port->name(),
                   port->up() ? "up" : "down");
      tell(i, port->up() ? "link-up" : "link-down", "port " + port->name());
    }
    if (options_.wires[i].mirror_link && wire.kernel) {
      Result<bool> mirrored = wire.kernel->mirror_links();
      if (!mirrored) spdlog::warn("wire {}: mirroring links: {}", wire.name, mirrored.error());
    }
  }
  if (changed && server_) server_->wires_changed();
}

void Process::check_kernel() {
  bool changed = false;
  for (std::size_t i = 0; i < shared_.wires.size(); ++i) {
    WirePorts& wire = shared_.wires[i];
    Watched& watched = watched_[i];
    bool inspecting = true;
    if (wire.kernel) {
      static_cast<void>(wire.kernel->settle_hints());
      Result<xdp::WireState> state = wire.kernel->state();
      inspecting = state && state->alive() && !state->operator_bypass;
      Result<xdp::Counters> counters = wire.kernel->counters();
      std::uint64_t overload = 0;
      for (const Side side : {Side::inside, Side::outside}) {
        if (!counters) break;
        overload += counters->at(side, STEER_COUNT_overload_new).frames +
                    counters->at(side, STEER_COUNT_closed_overload).frames;
      }
      const std::uint64_t drops = wire.ports[0]->receive_drops() + wire.ports[1]->receive_drops();
      if (overload > watched.overload || drops > watched.ring_drops) {
        if (!watched.overloaded) {
          tell(i, "overload",
               std::to_string(overload - watched.overload) + " frames sent past inspection, " +
                   std::to_string(drops - watched.ring_drops) + " dropped before the ring");
        }
        watched.overloaded = true;
      } else if (watched.overloaded) {
        watched.overloaded = false;
        tell(i, "overload-end", "rings are below the watermark");
      }
      watched.overload = std::max(watched.overload, overload);
      watched.ring_drops = std::max(watched.ring_drops, drops);
    }
    if (watched.inspecting.exchange(inspecting, std::memory_order_relaxed) != inspecting) {
      changed = true;
      tell(i, inspecting ? "inspecting" : "bypass",
           inspecting ? "mail goes through inspection"
                      : "the kernel applies the failure policy to mail");
    }
  }
  if (changed && server_) server_->wires_changed();
}

// ---- stop ----

void Process::stop() {
  server_.reset();
  if (launched_) {
    shared_.stop.store(true, std::memory_order_release);
    for (const auto& worker : workers_) worker->wake();
    rte_eal_mp_wait_lcore();
  }
  for (WirePorts& wire : shared_.wires) {
    for (const auto& port : wire.ports) {
      if (port) port->close();
    }
  }
  guardian_.reset();
  control_socket_.reset();
}

}  // namespace sluice::app
