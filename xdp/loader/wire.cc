// Typed access to a wire's maps: sockets, heartbeat, flows, settings, counters, state.
#include <bpf/libbpf.h>
#include <net/if.h>

#include <algorithm>
#include <limits>

#include "xdp/loader/bpffs.h"
#include "xdp/loader/front.h"
#include "xdp/loader/loader.h"
#include "xdp/loader/port.h"
#include "xdp/loader/wire_impl.h"

namespace sluice::xdp {
namespace {

constexpr std::uint32_t kZero = 0;
constexpr std::size_t at(Side side) { return static_cast<std::size_t>(side); }

}  // namespace

std::string link_pin(Side side) { return std::string("link_") + kSideNames[at(side)]; }
std::string hosts_pin(std::uint32_t generation) { return "hosts_" + std::to_string(generation); }
std::string prefixes_pin(std::uint32_t generation) {
  return "prefixes_" + std::to_string(generation);
}

Wire::Wire(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Wire::~Wire() = default;
Wire::Wire(Wire&&) noexcept = default;
Wire& Wire::operator=(Wire&&) noexcept = default;

const std::string& Wire::name() const { return impl_->name; }
const std::string& Wire::interface(Side side) const { return impl_->interfaces[at(side)]; }
const std::string& Wire::socket_interface(Side side) const {
  return impl_->xdp_interfaces[at(side)];
}
std::uint32_t Wire::ifindex(Side side) const { return impl_->ifindexes[at(side)]; }
const std::vector<std::string>& Wire::warnings() const { return impl_->warnings; }
bool Wire::adopted() const { return impl_->adopted; }

Status Wire::Impl::open_maps() {
  struct Wanted {
    Descriptor& fd;
    const char* name;
  };
  Descriptor runtime_fd;
  Descriptor state_fd;
  Descriptor limiters_fd;
  const Wanted all[] = {
      {config, "config"},      {mail_ports, "mail_ports"},     {heartbeats, "heartbeats"},
      {counters, "counters"},  {sockets[0], "sockets_inside"}, {sockets[1], "sockets_outside"},
      {ports, "ports"},        {host_lists, "host_lists"},     {prefix_lists, "prefix_lists"},
      {steered, "steered"},    {bypassed, "bypassed"},         {changed, "changed"},
      {runtime_fd, "runtime"}, {state_fd, "list_state"},       {limiters_fd, "limiters"}};
  for (const Wanted& wanted : all) {
    const std::string path = folder + "/" + wanted.name;
    wanted.fd = Descriptor(bpf_obj_get(path.c_str()));
    if (!wanted.fd) return failure("cannot open " + path);
  }
  fronts = Descriptor(bpf_obj_get((folder + "/fronts").c_str()));
  if (!runtime.map(runtime_fd.get(), 1) || !list_state.map(state_fd.get(), 1) ||
      !limiters.map(limiters_fd.get(), STEER_MAX_LIMITERS))
    return failure("cannot map the shared arrays of " + folder);
  return ok();
}

Result<steer_config> Wire::Impl::read_config() const {
  steer_config value{};
  if (bpf_map_lookup_elem(config.get(), &kZero, &value) != 0)
    return failure("cannot read the settings of wire " + name);
  return value;
}

Status Wire::Impl::write_config(const steer_config& value) const {
  if (bpf_map_update_elem(config.get(), &kZero, &value, BPF_ANY) != 0)
    return failure("cannot write the settings of wire " + name);
  return ok();
}

steer_front Wire::Impl::read_front() const {
  steer_front value{};
  if (!fronts || bpf_map_lookup_elem(fronts.get(), &kZero, &value) != 0) return {};
  return value;
}

Status Wire::Impl::write_front(const steer_front& value) const {
  if (bpf_map_update_elem(fronts.get(), &kZero, &value, BPF_ANY) != 0)
    return failure("cannot write the front of wire " + name);
  return ok();
}

template <typename Change>
Status Wire::Impl::change_config(Change change) const {
  const Result<Descriptor> lock = lock_folder(folder);
  if (!lock) return Error{lock.error()};
  Result<steer_config> value = read_config();
  if (!value) return Error{value.error()};
  change(*value);
  return write_config(*value);
}

// ---- heartbeat ----

Heartbeat::~Heartbeat() {
  if (slots_ != nullptr) munmap(slots_, mapped_);
}
Heartbeat::Heartbeat(Heartbeat&& other) noexcept
    : slots_(std::exchange(other.slots_, nullptr)),
      mapped_(other.mapped_),
      timeout_(other.timeout_) {}
Heartbeat& Heartbeat::operator=(Heartbeat&& other) noexcept {
  if (this != &other) {
    if (slots_ != nullptr) munmap(slots_, mapped_);
    slots_ = std::exchange(other.slots_, nullptr);
    mapped_ = other.mapped_;
    timeout_ = other.timeout_;
  }
  return *this;
}

Result<Heartbeat> Wire::map_heartbeat() const {
  const Result<steer_config> config = impl_->read_config();
  if (!config) return Error{config.error()};
  MappedArray<steer_heartbeat> slots;
  if (!slots.map(impl_->heartbeats.get(), STEER_MAX_QUEUES))
    return failure("cannot map the heartbeat of wire " + impl_->name);
  Heartbeat heartbeat;
  heartbeat.mapped_ = slots.size_octets();
  heartbeat.slots_ = slots.release();
  heartbeat.timeout_ = config->heartbeat_timeout_ns;
  return heartbeat;
}

// ---- sockets ----

int Wire::socket_map(Side side) const { return impl_->sockets[at(side)].get(); }

Status Wire::put_socket(Side side, std::uint32_t queue, int socket) {
  if (bpf_map_update_elem(socket_map(side), &queue, &socket, BPF_ANY) != 0)
    return failure("cannot put a socket at queue " + std::to_string(queue) + " of " +
                   interface(side));
  return ok();
}

Status Wire::remove_socket(Side side, std::uint32_t queue) {
  if (bpf_map_delete_elem(socket_map(side), &queue) != 0 && errno != ENOENT)
    return failure("cannot remove the socket of queue " + std::to_string(queue) + " of " +
                   interface(side));
  return ok();
}

// ---- flows ----

steer_flow_key flow_key(const FlowEnds& ends) {
  steer_flow_key key{};
  const bool a_is_low =
      std::pair(ends.a.octets, ends.a_port) <= std::pair(ends.b.octets, ends.b_port);
  const Address& low = a_is_low ? ends.a : ends.b;
  const Address& high = a_is_low ? ends.b : ends.a;
  std::copy(low.octets.begin(), low.octets.end(), key.low);
  std::copy(high.octets.begin(), high.octets.end(), key.high);
  key.low_port = a_is_low ? ends.a_port : ends.b_port;
  key.high_port = a_is_low ? ends.b_port : ends.a_port;
  std::copy(std::begin(ends.vlan), std::end(ends.vlan), key.vlan);
  key.vlan_count = ends.vlan_count;
  key.pppoe_session = ends.pppoe_session;
  key.protocol = 6;
  return key;
}

namespace {

steer_flow fresh_mark(std::uint32_t flags) {
  steer_flow value{};
  value.flags = flags;
  value.since_ns = Heartbeat::now();
  return value;
}

Status put_mark(int map, const steer_flow_key& key, const steer_flow& value) {
  if (bpf_map_update_elem(map, &key, &value, BPF_ANY) != 0) return failure("cannot mark a flow");
  return ok();
}
Status put_mark(int map, const FlowEnds& ends) {
  return put_mark(map, flow_key(ends), fresh_mark(0));
}

Status drop_mark(int map, const FlowEnds& ends) {
  const steer_flow_key key = flow_key(ends);
  if (bpf_map_delete_elem(map, &key) != 0 && errno != ENOENT)
    return failure("cannot remove a flow's mark");
  return ok();
}

// Tells the program that a map is worth a lookup. Never taken back: the map may hold more.
void hint(__u32& used) { std::atomic_ref(used).store(1, std::memory_order_release); }

}  // namespace

Status Wire::steer_flow(const FlowEnds& ends) {
  Status done = put_mark(impl_->steered.get(), ends);
  hint(impl_->runtime[0].steered_used);
  return done;
}
Status Wire::unsteer_flow(const FlowEnds& ends) { return drop_mark(impl_->steered.get(), ends); }
Status Wire::bypass_flow(const FlowEnds& ends, const FlowEdges& edges) {
  const steer_flow_key key = flow_key(ends);
  ::steer_flow value{};
  const bool again = bpf_map_lookup_elem(impl_->bypassed.get(), &key, &value) == 0 &&
                     value.flags == STEER_FLOW_BYPASS;
  if (!again) value = fresh_mark(STEER_FLOW_BYPASS);
  for (std::size_t side = 0; side < STEER_SIDES; ++side) {
    const bool passes = again && value.edge[side] == 0;
    if (!passes) value.edge[side] = edges[side] ? STEER_EDGE | *edges[side] : 0;
  }
  Status done = put_mark(impl_->bypassed.get(), key, value);
  hint(impl_->runtime[0].bypassed_used);
  return done;
}
Result<FlowTraffic> Wire::bypassed_traffic(const FlowEnds& ends) const {
  const steer_flow_key key = flow_key(ends);
  ::steer_flow value{};
  FlowTraffic traffic;
  if (bpf_map_lookup_elem(impl_->bypassed.get(), &key, &value) != 0) {
    if (errno == ENOENT) return traffic;
    return failure("cannot read a flow's mark");
  }
  std::copy_n(value.frames, 2, traffic.frames);
  std::copy_n(value.octets, 2, traffic.octets);
  return traffic;
}
Status Wire::unmark_bypass(const FlowEnds& ends) { return drop_mark(impl_->bypassed.get(), ends); }
Status Wire::pass_message(const FlowEnds& ends, Side client, std::optional<std::uint32_t> edge) {
  const steer_flow_key key = flow_key(ends);
  const std::uint64_t told = edge ? STEER_EDGE | *edge : 0;
  ::steer_flow value{};
  const bool marked = bpf_map_lookup_elem(impl_->bypassed.get(), &key, &value) == 0;
  if (marked && value.flags == (STEER_FLOW_MESSAGE | STEER_FLOW_MESSAGE_BEGUN)) return ok();
  const bool again = marked && value.flags == STEER_FLOW_MESSAGE;
  if (!again) value = fresh_mark(STEER_FLOW_MESSAGE);
  value.client_side = static_cast<std::uint8_t>(client);
  // Later the program may begin meanwhile, and where it began would be lost.
  if (again && Heartbeat::now() - value.since_ns > STEER_EDGE_WAIT_NS / 2) return ok();
  value.edge[static_cast<std::size_t>(client)] = told;
  Status done = put_mark(impl_->bypassed.get(), key, value);
  hint(impl_->runtime[0].bypassed_used);
  return done;
}
std::optional<PassedMessage> Wire::passed_message(const FlowEnds& ends) const {
  const steer_flow_key key = flow_key(ends);
  ::steer_flow value{};
  if (bpf_map_lookup_elem(impl_->bypassed.get(), &key, &value) != 0 ||
      (value.flags & STEER_FLOW_MESSAGE) == 0)
    return std::nullopt;
  PassedMessage passed{.over = (value.flags & STEER_FLOW_MESSAGE_OVER) != 0,
                       .begun = (value.flags & STEER_FLOW_MESSAGE_BEGUN) != 0,
                       .start = value.start,
                       .next = value.next};
  std::copy_n(value.last, 2, passed.last);
  return passed;
}
Status Wire::mark_sequence_changed(const FlowEnds& ends) {
  return put_mark(impl_->changed.get(), ends);
}
Status Wire::settle_hints() {
  std::uint32_t& used = impl_->runtime[0].steered_used;
  if (std::atomic_ref(used).load(std::memory_order_acquire) == 0) return ok();
  const auto empty = [&] {
    steer_flow_key first{};
    return bpf_map_get_next_key(impl_->steered.get(), nullptr, &first) != 0;
  };
  if (!empty()) return ok();
  std::atomic_ref(used).store(0, std::memory_order_release);
  // The program may have marked one meanwhile, and set the hint before we took it away.
  if (!empty()) hint(used);
  return ok();
}
Status Wire::forget_flow(const FlowEnds& ends) {
  for (const int map : {impl_->steered.get(), impl_->bypassed.get(), impl_->changed.get()})
    if (Status done = drop_mark(map, ends); !done) return done;
  return ok();
}

// ---- settings ----

Status Wire::set_mail_ports(std::span<const std::uint16_t> ports) {
  steer_ports bits{};
  for (const std::uint16_t port : ports) bits.words[port / 64] |= 1ull << (port % 64);
  if (bpf_map_update_elem(impl_->mail_ports.get(), &kZero, &bits, BPF_ANY) != 0)
    return failure("cannot set the mail ports of wire " + impl_->name);
  return ok();
}

Result<std::vector<std::uint16_t>> Wire::mail_ports() const {
  steer_ports bits{};
  if (bpf_map_lookup_elem(impl_->mail_ports.get(), &kZero, &bits) != 0)
    return failure("cannot read the mail ports of wire " + impl_->name);
  std::vector<std::uint16_t> ports;
  for (std::uint32_t port = 0; port < 65536; port++)
    if ((bits.words[port / 64] >> (port % 64) & 1) != 0)
      ports.push_back(static_cast<std::uint16_t>(port));
  return ports;
}

namespace {
void set_flag(steer_config& config, std::uint32_t flag, bool on) {
  config.flags = on ? config.flags | flag : config.flags & ~flag;
}
}  // namespace

Status Wire::set_failure_policy(FailurePolicy policy) {
  return impl_->change_config([&](steer_config& config) {
    set_flag(config, STEER_FAIL_CLOSED, policy == FailurePolicy::closed);
  });
}

Status Wire::set_operator_bypass(bool on) {
  return impl_->change_config(
      [&](steer_config& config) { set_flag(config, STEER_OPERATOR_BYPASS, on); });
}

Status Wire::set_heartbeat_timeout(Nanoseconds timeout) {
  if (timeout < kMillisecond || timeout > 10 * kSecond)
    return Error{"heartbeat timeout must be 1 ms to 10 s"};
  return impl_->change_config([&](steer_config& config) { config.heartbeat_timeout_ns = timeout; });
}

Status Wire::set_watermark(std::uint32_t permille) {
  if (permille > STEER_PERMILLE) return Error{"watermark is in permille, 0 to 1000"};
  return impl_->change_config([&](steer_config& config) { config.watermark = permille; });
}

// ---- state ----

Result<Counters> Wire::counters() const {
  const int cpus = libbpf_num_possible_cpus();
  if (cpus < 1) return Error{"cannot tell the number of CPUs"};
  std::vector<steer_counters> each(static_cast<std::size_t>(cpus));
  static_assert(sizeof(steer_counters) % 8 == 0, "the kernel pads per-CPU values to 8 octets");
  if (bpf_map_lookup_elem(impl_->counters.get(), &kZero, each.data()) != 0)
    return failure("cannot read the counters of wire " + impl_->name);
  Counters sum;
  for (const steer_counters& cpu : each)
    for (std::size_t side = 0; side < STEER_SIDES; side++)
      for (std::size_t i = 0; i < STEER_COUNTER_COUNT; i++) {
        sum.values[side][i].frames += cpu.frames[side][i];
        sum.values[side][i].octets += cpu.octets[side][i];
      }
  return sum;
}

namespace {

PortState read_port_state(const std::string& folder, Side side, const steer_port& saved,
                          const steer_front& front) {
  PortState state;
  state.name.assign(saved.name, strnlen(saved.name, sizeof saved.name));
  state.mirrored_down = (saved.flags & STEER_PORT_MIRRORED_DOWN) != 0;
  state.generic = (saved.flags & STEER_PORT_GENERIC) != 0;
  state.front = front.xdp[at(side)] != 0;
  const Descriptor link(bpf_obj_get((folder + "/" + link_pin(side)).c_str()));
  bpf_link_info info{};
  __u32 size = sizeof info;
  state.attached = link && bpf_obj_get_info_by_fd(link.get(), &info, &size) == 0 &&
                   info.xdp.ifindex == (state.front ? front.xdp[at(side)] : saved.ifindex) &&
                   info.xdp.ifindex != 0;
  const std::string name = port_name(saved.ifindex);
  if (name.empty()) {
    state.attached = false;
    return state;
  }
  if (state.front) state.attached = state.attached && has_filter(saved.ifindex);
  if (const Result<PortInfo> port = read_port(name)) {
    state.name = name;
    state.ifindex = port->ifindex;
    state.up = (port->flags & IFF_UP) != 0;
    state.carrier = port->carrier;
    state.mtu = port->mtu;
    state.driver = port->driver;
  }
  return state;
}

}  // namespace

Result<WireState> Wire::state() const {
  const Result<steer_config> config = impl_->read_config();
  if (!config) return Error{config.error()};
  WireState state;
  state.name = impl_->name;
  state.failure =
      (config->flags & STEER_FAIL_CLOSED) != 0 ? FailurePolicy::closed : FailurePolicy::open;
  state.operator_bypass = (config->flags & STEER_OPERATOR_BYPASS) != 0;
  state.queues = config->queues;
  const steer_front front = impl_->read_front();
  for (const Side side : {Side::inside, Side::outside})
    state.ports[at(side)] = read_port_state(impl_->folder, side, config->ports[at(side)], front);
  for (std::uint32_t queue = 0; queue < config->queues; queue++) {
    steer_heartbeat slot{};
    if (bpf_map_lookup_elem(impl_->heartbeats.get(), &queue, &slot) != 0)
      return failure("cannot read the heartbeat of wire " + impl_->name);
    const auto age = static_cast<std::int64_t>(Heartbeat::now() - slot.beat_ns);
    if (slot.beat_ns == 0) {
      state.oldest_beat_age = std::numeric_limits<Nanoseconds>::max();
      continue;
    }
    state.oldest_beat_age =
        std::max(state.oldest_beat_age, static_cast<Nanoseconds>(std::max<std::int64_t>(age, 0)));
    const auto timeout = static_cast<std::int64_t>(config->heartbeat_timeout_ns);
    if (age <= timeout && -age <= timeout) state.fresh_queues++;
  }
  return state;
}

namespace {

// A link that comes up needs this long to agree with its far end. Until then its missing carrier
// says nothing; else the two ports would take each other down in turns for ever.
constexpr Nanoseconds kSettle = 5 * kSecond;

std::uint32_t second_now() { return static_cast<std::uint32_t>(Heartbeat::now() / kSecond); }

// One side's turn: `from` without carrier takes `to` down, and brings up what it took down.
Result<bool> mirror(steer_config& config, Side from_side) {
  const steer_port& from = config.ports[at(from_side)];
  steer_port& to = config.ports[at(opposite(from_side))];
  const std::string from_name = port_name(from.ifindex);
  const std::string to_name = port_name(to.ifindex);
  if (from_name.empty() || to_name.empty()) return false;
  const Result<PortInfo> source = read_port(from_name);
  const Result<PortInfo> target = read_port(to_name);
  if (!source) return Error{source.error()};
  if (!target) return Error{target.error()};
  if ((to.flags & STEER_PORT_MIRRORED_DOWN) != 0) {
    if (!source->carrier) return false;
    if (Status up = change_port_flags(to_name, IFF_UP, 0); !up) return Error{up.error()};
    to.flags &= ~static_cast<std::uint32_t>(STEER_PORT_MIRRORED_DOWN);
    config.raised_s = second_now();
    return true;
  }
  // A port that is down because we took it down has no carrier for that reason alone.
  if (source->carrier || (from.flags & STEER_PORT_MIRRORED_DOWN) != 0) return false;
  if ((source->flags & IFF_UP) == 0 || (target->flags & IFF_UP) == 0) return false;
  if (config.raised_s != 0 && second_now() - config.raised_s <= kSettle / kSecond) return false;
  if (Status down = change_port_flags(to_name, 0, IFF_UP); !down) return Error{down.error()};
  to.flags |= STEER_PORT_MIRRORED_DOWN;
  return true;
}

}  // namespace

Result<bool> Wire::mirror_links() {
  const Result<Descriptor> lock = lock_folder(impl_->folder);
  if (!lock) return Error{lock.error()};
  Result<steer_config> config = impl_->read_config();
  if (!config) return Error{config.error()};
  if ((config->flags & STEER_MIRROR_LINK) == 0) return false;
  Result<bool> first = mirror(*config, Side::inside);
  if (!first) return first;
  Result<bool> second = mirror(*config, Side::outside);
  if (!second) return second;
  if (!*first && !*second) return false;
  if (Status written = impl_->write_config(*config); !written) return Error{written.error()};
  return true;
}

}  // namespace sluice::xdp
