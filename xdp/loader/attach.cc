// Loading, attaching, adopting and detaching.
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <memory>
#include <optional>
#include <sstream>

#include "xdp/loader/bpffs.h"
#include "xdp/loader/front.h"
#include "xdp/loader/object.h"
#include "xdp/loader/port.h"
#include "xdp/loader/wire_impl.h"

namespace sluice::xdp {
namespace {

// Tags do not count against the line's MTU: three VLAN tags, PPPoE and one label beyond it.
constexpr std::uint32_t kTagRoom = 3 * 4 + 8 + 4;
// What a frame on a port carries beyond the MTU, as the kernel reckons it: Ethernet and one tag.
constexpr std::uint32_t kFrameOverhead = 14 + 4;
// A veth's peer may have at most this MTU while a program without multi-buffer is on the veth: a
// page less headroom, Ethernet header and skb_shared_info.
constexpr std::uint32_t kVethMtu = 3506;

constexpr Side kSides[] = {Side::inside, Side::outside};
constexpr std::size_t at(Side side) { return static_cast<std::size_t>(side); }

struct ObjectDeleter {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};
using Object = std::unique_ptr<bpf_object, ObjectDeleter>;

// libbpf says the reason of a failure only to a callback.
thread_local std::string libbpf_words;
int collect_words(libbpf_print_level level, const char* format, va_list arguments) {
  if (level == LIBBPF_DEBUG) return 0;
  char line[1024];
  const int length = vsnprintf(line, sizeof line, format, arguments);
  if (libbpf_words.size() < 16384) libbpf_words += line;
  return length;
}

std::string last_words() {
  const std::size_t tail = std::min<std::size_t>(libbpf_words.size(), 1500);
  std::string text = libbpf_words.substr(libbpf_words.size() - tail);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

// Before 6.3 the kernel loses frames of several buffers at a redirect (xdp_do_redirect answers
// EOPNOTSUPP), which shows in no counter of ours.
bool redirects_multi_buffer() {
  utsname kernel{};
  unsigned major = 0;
  unsigned minor = 0;
  if (uname(&kernel) != 0) return false;
  std::istringstream release(kernel.release);
  char dot = 0;
  release >> major >> dot >> minor;
  return major > 6 || (major == 6 && minor >= 3);
}

Status check(const WireConfig& config) {
  if (config.multi_buffer && !redirects_multi_buffer())
    return Error{"wire " + config.name +
                 ": this kernel cannot redirect frames of several buffers, 6.3 and later can; use "
                 "generic mode for frames over a page"};
  if (!is_wire_name(config.name))
    return Error{"wire name '" + config.name + "': 1 to 31 of letters, digits, '_' and '-'"};
  if (config.inside.empty() || config.outside.empty() || config.inside == config.outside)
    return Error{"wire " + config.name + " needs two different interfaces"};
  if (config.queues < 1 || config.queues > STEER_MAX_QUEUES)
    return Error{"wire " + config.name + ": queues must be 1 to " +
                 std::to_string(STEER_MAX_QUEUES)};
  if (config.heartbeat_timeout < kMillisecond || config.heartbeat_timeout > 10 * kSecond)
    return Error{"wire " + config.name + ": heartbeat timeout must be 1 ms to 10 s"};
  if (config.watermark > STEER_PERMILLE)
    return Error{"wire " + config.name + ": watermark is in permille, 0 to 1000"};
  return ok();
}

// ---- programs and links ----

struct Attached {
  std::uint32_t id = 0;
  bool generic = false;
};

// The XDP program on an interface, whoever put it there.
Attached attached_program(std::uint32_t ifindex) {
  bpf_xdp_query_opts query{};
  query.sz = sizeof query;
  if (bpf_xdp_query(static_cast<int>(ifindex), 0, &query) != 0) return {};
  if (query.drv_prog_id != 0) return {query.drv_prog_id, false};
  if (query.hw_prog_id != 0) return {query.hw_prog_id, false};
  if (query.skb_prog_id != 0) return {query.skb_prog_id, true};
  return {query.prog_id, query.attach_mode == XDP_ATTACHED_SKB};
}

std::string describe_program(std::uint32_t id) {
  std::string text = "XDP program " + std::to_string(id);
  const Descriptor program(bpf_prog_get_fd_by_id(id));  // needs CAP_SYS_ADMIN
  bpf_prog_info info{};
  __u32 size = sizeof info;
  if (program && bpf_obj_get_info_by_fd(program.get(), &info, &size) == 0)
    text += std::string(" '") + info.name + "'";
  return text;
}

struct Link {
  Descriptor fd;
  std::uint32_t ifindex = 0;  // 0: its device was removed
  std::uint32_t program = 0;
};

std::optional<Link> open_link(const std::string& folder, Side side) {
  Link link;
  link.fd = Descriptor(bpf_obj_get((folder + "/" + link_pin(side)).c_str()));
  bpf_link_info info{};
  __u32 size = sizeof info;
  if (!link.fd || bpf_obj_get_info_by_fd(link.fd.get(), &info, &size) != 0) return std::nullopt;
  link.ifindex = info.xdp.ifindex;
  link.program = info.prog_id;
  return link;
}

// Zeros when the wire is not in front mode, or not there.
steer_front recorded_front(const std::string& folder) {
  const Descriptor map(bpf_obj_get((folder + "/fronts").c_str()));
  steer_front front{};
  const std::uint32_t zero = 0;
  if (map && bpf_map_lookup_elem(map.get(), &zero, &front) == 0) return front;
  return {};
}

// Fails when a program that is not our link's, or another wire's front, is on the interface.
Status refuse_foreign(const std::string& folder, Side side, const std::string& interface,
                      std::uint32_t ifindex) {
  if (has_filter(ifindex) && recorded_front(folder).port[at(side)] != ifindex)
    return Error{"the front of another wire is on " + interface +
                 " and is left alone: remove it (tc filter del dev " + interface +
                 " ingress, or sluice-dataplane --detach of its wire) and try again"};
  const Attached found = attached_program(ifindex);
  if (found.id == 0) return ok();
  const std::optional<Link> link = open_link(folder, side);
  if (link && link->ifindex == ifindex && link->program == found.id) return ok();
  return Error{describe_program(found.id) + " is on " + interface +
               " and is not this wire's; it is left alone: remove it (ip link set dev " +
               interface + " xdp off, or sluice-dataplane --detach of its wire) and try again"};
}

void drop_link(const std::string& folder, Side side) {
  if (const std::optional<Link> link = open_link(folder, side)) bpf_link_detach(link->fd.get());
  unlink((folder + "/" + link_pin(side)).c_str());
}

int create_link(int program, std::uint32_t ifindex, bool generic) {
  bpf_link_create_opts options{};
  options.sz = sizeof options;
  options.flags = generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE;
  return bpf_link_create(program, static_cast<int>(ifindex), BPF_XDP, &options);
}

bool no_native(int error) {
  return error == EOPNOTSUPP || error == EINVAL || error == ERANGE || error == ENODEV ||
         error == 524 /* ENOTSUPP, of drivers */ || error == ENOMEM;
}

struct AttachedPort {
  bool generic = false;
  std::string warning;
};

// Puts `program` on the port by a pinned link, or into the link that is there.
Result<AttachedPort> attach_port(const std::string& folder, Side side, const std::string& interface,
                                 std::uint32_t ifindex, int program, AttachMode mode) {
  if (const std::optional<Link> link = open_link(folder, side)) {
    const bool generic = attached_program(ifindex).generic;
    const bool mode_fits =
        mode == AttachMode::automatic || generic == (mode == AttachMode::generic);
    if (link->ifindex == ifindex && mode_fits) {
      if (bpf_link_update(link->fd.get(), program, nullptr) != 0)
        return failure("cannot replace the program on " + interface);
      return AttachedPort{generic, {}};
    }
  }
  drop_link(folder, side);  // severed with its device, of another interface, or of another mode
  AttachedPort result;
  result.generic = mode == AttachMode::generic;
  Descriptor link(create_link(program, ifindex, result.generic));
  if (!link && mode == AttachMode::automatic && no_native(errno)) {
    result.warning = interface + " takes no native XDP (" + errno_text(errno) +
                     "): generic mode, which is slower";
    result.generic = true;
    link = Descriptor(create_link(program, ifindex, true));
  }
  if (!link) {
    const int error = errno;
    if (error == EBUSY || error == EEXIST)
      return Error{"another XDP program is on " + interface + "; it is left alone"};
    return failure(
        "cannot attach to " + interface + (result.generic ? " in generic mode" : " in native mode"),
        error);
  }
  if (bpf_obj_pin(link.get(), (folder + "/" + link_pin(side)).c_str()) != 0)
    return failure("cannot pin the link of " + interface);
  return result;
}

// ---- object ----

// The pinned map of the same name, when it has the shape that this program was built for.
Status reuse_map(bpf_map* map, const std::string& folder) {
  const std::string path = folder + "/" + bpf_map__name(map);
  // By descriptor and not by pin path: libbpf 1.1.2 compares flags and so refuses a DEVMAP.
  const Descriptor pinned(bpf_obj_get(path.c_str()));
  if (!pinned) return errno == ENOENT ? ok() : Status(failure("cannot open " + path));
  bpf_map_info info{};
  __u32 size = sizeof info;
  if (bpf_obj_get_info_by_fd(pinned.get(), &info, &size) != 0)
    return failure("cannot read " + path);
  if (info.type != bpf_map__type(map) || info.key_size != bpf_map__key_size(map) ||
      info.value_size != bpf_map__value_size(map) || info.max_entries != bpf_map__max_entries(map))
    return Error{path + " has another shape than layout " + std::to_string(STEER_LAYOUT) +
                 " says; detach the wire first"};
  const int error = bpf_map__reuse_fd(map, pinned.get());
  if (error != 0) return failure("cannot reuse " + path, error);
  return ok();
}

// `octets`: the compiled programs.
Result<Object> load_object(const std::string& folder, std::span<const unsigned char> octets,
                           bool multi_buffer) {
  libbpf_words.clear();
  bpf_object_open_opts options{};
  options.sz = sizeof options;
  options.object_name = "sluice_steer";
  Object object(bpf_object__open_mem(octets.data(), octets.size(), &options));
  if (!object)
    return Error{"cannot open the BPF object: " + errno_text(errno) + "; " + last_words()};
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object.get()) {
    if (Status reused = reuse_map(map, folder); !reused) return Error{reused.error()};
  }
  if (multi_buffer) {
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, object.get()) {
      bpf_program__set_flags(program, BPF_F_XDP_HAS_FRAGS);
    }
  }
  const int error = bpf_object__load(object.get());
  if (error != 0)
    return Error{"the kernel refuses the BPF program: " + errno_text(error) + "; " + last_words()};
  bpf_object__for_each_map(map, object.get()) {
    const std::string path = folder + "/" + bpf_map__name(map);
    if (bpf_obj_pin(bpf_map__fd(map), path.c_str()) != 0 && errno != EEXIST)
      return failure("cannot pin " + path);
  }
  return object;
}

// ---- ports ----

void remember(steer_port& saved, const PortInfo& port, const std::string& name) {
  if ((saved.flags & STEER_PORT_SAVED) != 0 && saved.ifindex == port.ifindex) return;
  saved = {};
  saved.ifindex = port.ifindex;
  saved.flags = STEER_PORT_SAVED;
  if ((port.flags & IFF_PROMISC) != 0) saved.flags |= STEER_PORT_WAS_PROMISC;
  if ((port.flags & IFF_UP) != 0) saved.flags |= STEER_PORT_WAS_UP;
  if ((port.flags & IFF_NOARP) != 0) saved.flags |= STEER_PORT_WAS_NOARP;
  if (port_speaks_ipv6(name)) saved.flags |= STEER_PORT_HAD_IPV6;
  saved.saved_mtu = port.mtu;
  std::copy_n(name.begin(), std::min<std::size_t>(name.size(), STEER_MAX_NAME - 1), saved.name);
}

void give_back(const steer_port& saved) {
  const std::string name = port_name(saved.ifindex);
  if ((saved.flags & STEER_PORT_SAVED) == 0 || name.empty()) return;
  std::uint32_t set = 0;
  std::uint32_t clear = 0;
  if ((saved.flags & STEER_PORT_WAS_PROMISC) == 0) clear |= IFF_PROMISC;
  if ((saved.flags & STEER_PORT_WAS_NOARP) == 0) clear |= IFF_NOARP;
  ((saved.flags & STEER_PORT_WAS_UP) != 0 ? set : clear) |= IFF_UP;
  // Each by itself: the one that fails keeps nothing else from being given back.
  (void)change_port_flags(name, set, clear);
  (void)set_port_mtu(name, saved.saved_mtu);
  if ((saved.flags & STEER_PORT_HAD_IPV6) != 0) (void)set_port_ipv6(name, true);
}

Status silence_port(const std::string& name) {
  // IPv6 before the link comes up, or the port asks the line for routers.
  if (Status done = set_port_ipv6(name, false); !done) return done;
  return change_port_flags(name, IFF_PROMISC | IFF_NOARP, 0);
}

// Room for tags beyond the line's MTU; what it could not get is a warning.
void widen_port(const std::string& name, const PortInfo& port, std::uint32_t line_mtu,
                bool one_buffer, std::vector<std::string>& warnings) {
  std::uint32_t wanted = line_mtu + kTagRoom;
  if (port.driver == "veth" && one_buffer && wanted > kVethMtu)
    wanted = std::max(line_mtu, kVethMtu);
  if (port.mtu >= wanted) return;
  if (set_port_mtu(name, wanted)) return;
  Status least = port.mtu >= line_mtu ? ok() : set_port_mtu(name, line_mtu);
  warnings.push_back(name + ": MTU " + std::to_string(wanted) +
                     " refused; full frames with more than one tag will not fit" +
                     (least ? "" : ", nor those of the line's MTU"));
}

Result<std::uint32_t> choose_mtu(const WireConfig& config, const steer_config& before,
                                 const PortInfo (&ports)[STEER_SIDES],
                                 std::vector<std::string>& warnings) {
  if (config.mtu != 0) return config.mtu;
  const auto own = [&](std::size_t side) {
    const steer_port& saved = before.ports[side];
    const bool known =
        (saved.flags & STEER_PORT_SAVED) != 0 && saved.ifindex == ports[side].ifindex;
    return known ? saved.saved_mtu : ports[side].mtu;
  };
  if (own(0) == own(1)) return own(0);
  const std::string text = config.inside + " has MTU " + std::to_string(own(0)) + ", " +
                           config.outside + " has " + std::to_string(own(1)) +
                           ": longer frames of one side would be lost";
  if (config.unequal_mtu == UnequalMtu::refuse) return Error{text + "; make them equal"};
  warnings.push_back(text);
  return std::min(own(0), own(1));
}

// `queues` that are served; 0: XDP is not on the port.
void warn_of_port(const std::string& name, const PortInfo& port, std::uint32_t queues,
                  std::vector<std::string>& warnings) {
  if (queues != 0 && port.rx_queues > queues)
    warnings.push_back(name + " has " + std::to_string(port.rx_queues) + " receive queues but " +
                       std::to_string(queues) +
                       " are served: mail on the others takes the failure policy");
  std::string addresses;
  for (const std::string& address : port_addresses(name))
    addresses.append(addresses.empty() ? "" : ", ").append(address);
  if (!addresses.empty())
    warnings.push_back(name + " has the address " + addresses +
                       ", by which a port of a wire cannot be reached");
  if (queues != 0 && port.driver == "veth")
    warnings.push_back(name +
                       " is a veth: its far end needs `ethtool -K ... gro on` or an XDP program "
                       "there, or redirected frames are lost silently; and `tx off txvlan off`, or "
                       "they have partial checksums and lose their tags");
}

Status check_mtu_fits(const std::string& name, const PortInfo& port, std::uint32_t line_mtu,
                      const WireConfig& config) {
  const bool front = config.mode == AttachMode::front;
  if ((port.driver != "veth" && !front) || line_mtu <= kVethMtu || config.multi_buffer ||
      config.mode == AttachMode::generic)
    return ok();
  return Error{name + ": MTU " + std::to_string(line_mtu) + " is over " + std::to_string(kVethMtu) +
               ", the most that a veth takes with an XDP program of one buffer; choose "
               "multi-buffer (mail in longer frames is then not inspected) or generic mode"};
}

// The programs first: what they point at is there as long as they are.
void remove_front(const steer_front& front) {
  for (const Side side : kSides) {
    if (front.port[at(side)] == 0) continue;
    remove_filter(front.port[at(side)], front.own_hook[at(side)] != 0);
    remove_inner_pair(front.port[at(side)]);
  }
}

void remove_pins(const std::string& folder) {
  std::string path;
  for (const std::string& name : list_folder(folder)) {
    path = folder;
    path.append("/").append(name);
    unlink(path.c_str());
  }
  rmdir(folder.c_str());
}

// Undoes everything of a wire, with the folder's lock held.
void take_apart(const std::string& folder) {
  remove_front(recorded_front(folder));
  for (const Side side : kSides) drop_link(folder, side);
  const Descriptor map(bpf_obj_get((folder + "/config").c_str()));
  steer_config config{};
  const std::uint32_t zero = 0;
  if (map && bpf_map_lookup_elem(map.get(), &zero, &config) == 0)
    for (const steer_port& saved : config.ports) give_back(saved);
  remove_pins(folder);
}

void fill_ports(steer_ports& bits, std::span<const std::uint16_t> mail_ports) {
  bits = {};
  for (const std::uint16_t port : mail_ports) bits.words[port / 64] |= 1ull << (port % 64);
}

}  // namespace

// The steps of attach(), with the folder locked. `made` when nothing of the wire was there before.
class Attachment {
 public:
  Attachment(const WireConfig& config, Wire::Impl& impl) : config_(config), impl_(impl) {}

  Status run() {
    const std::string* names[] = {&config_.inside, &config_.outside};
    for (const Side side : kSides) {
      Result<PortInfo> port = read_port(*names[at(side)]);
      if (!port) return Error{port.error()};
      if (!port->ethernet) return Error{*names[at(side)] + " is no Ethernet interface"};
      ports_[at(side)] = *port;
      impl_.interfaces[at(side)] = *names[at(side)];
      impl_.ifindexes[at(side)] = impl_.xdp_ifindexes[at(side)] = port->ifindex;
      impl_.xdp_interfaces[at(side)] = *names[at(side)];
      if (Status mine = refuse_foreign(impl_.folder, side, *names[at(side)], port->ifindex); !mine)
        return mine;
      if (Status fits = check_queues(*names[at(side)], *port); !fits) return fits;
    }
    Result<Object> object = load_object(impl_.folder, steer_object(), config_.multi_buffer);
    if (!object) return Error{object.error()};
    if (Status opened = impl_.open_maps(); !opened) return opened;
    Result<steer_config> before = impl_.read_config();
    if (!before) return Error{before.error()};
    if (Status done = prepare_ports(*before); !done) return done;
    if (Status done = prepare_front(); !done) return done;
    if (Status done = write_settings(); !done) return done;
    if (Status done = attach_ports(object->get()); !done) return done;
    return is_front() ? attach_front() : ok();
  }

 private:
  bool is_front() const { return config_.mode == AttachMode::front; }

  // What is attached natively has been checked, and the driver's own queues are among those in use
  // now.
  Status check_queues(const std::string& name, const PortInfo& port) const {
    const Attached now = attached_program(port.ifindex);
    const bool stays = now.id != 0 && (!now.generic || config_.mode == AttachMode::automatic);
    if (stays || config_.mode == AttachMode::generic || is_front()) return ok();
    const int cpus = libbpf_num_possible_cpus();
    const std::string trouble =
        native_trouble(name, port, static_cast<std::uint32_t>(std::max(cpus, 1)));
    return trouble.empty() ? ok() : Status(Error{trouble});
  }

  Status prepare_ports(const steer_config& before) {
    settings_ = before;
    Result<std::uint32_t> mtu = choose_mtu(config_, before, ports_, impl_.warnings);
    if (!mtu) return Error{mtu.error()};
    settings_.line_mtu = *mtu;
    for (const Side side : kSides) {
      const std::string& name = impl_.interfaces[at(side)];
      const PortInfo& port = ports_[at(side)];
      if (Status fits = check_mtu_fits(name, port, *mtu, config_); !fits) return fits;
      remember(settings_.ports[at(side)], port, name);
    }
    // What was found is on record before anything is changed.
    if (Status written = impl_.write_config(settings_); !written) return written;
    for (const Side side : kSides) {
      const std::string& name = impl_.interfaces[at(side)];
      warn_of_port(name, ports_[at(side)], is_front() ? 0 : config_.queues, impl_.warnings);
      if (Status done = silence_port(name); !done) return done;
      widen_port(name, ports_[at(side)], *mtu, !config_.multi_buffer && !is_front(),
                 impl_.warnings);
    }
    return ok();
  }

  // In front mode XDP goes to the inner veths. What there was for other ports, or another mode,
  // goes.
  Status prepare_front() {
    front_ = impl_.read_front();
    for (const Side side : kSides) {
      const std::uint32_t port = impl_.ifindexes[at(side)];
      const std::uint32_t old = front_.port[at(side)];
      if (old != 0 && (old != port || !is_front())) {
        remove_filter(old, front_.own_hook[at(side)] != 0);
        remove_inner_pair(old);
        front_.port[at(side)] = front_.inner[at(side)] = front_.xdp[at(side)] = 0;
        front_.own_hook[at(side)] = 0;
      }
      if (!is_front()) continue;
      front_.port[at(side)] = port;
      // On record before it is made, so that whoever takes the wire apart finds it.
      if (Status written = impl_.write_front(front_); !written) return written;
      if (Status made = make_inner(side, port); !made) return made;
    }
    return impl_.write_front(front_);
  }

  Status make_inner(Side side, std::uint32_t port) {
    if (Status made = make_inner_pair(port, config_.queues); !made) return made;
    std::uint32_t* const indexes[] = {&front_.inner[at(side)], &front_.xdp[at(side)]};
    const std::string names[] = {inner_name(port), xdp_name(port)};
    for (std::size_t end = 0; end < 2; end++) {
      const Result<PortInfo> info = read_port(names[end]);
      if (!info) return Error{info.error()};
      *indexes[end] = info->ifindex;
      if (Status done = silence_port(names[end]); !done) return done;
      widen_port(names[end], *info, settings_.line_mtu, !config_.multi_buffer, impl_.warnings);
    }
    impl_.xdp_interfaces[at(side)] = names[1];
    impl_.xdp_ifindexes[at(side)] = front_.xdp[at(side)];
    return ok();
  }

  // XDP is there: frames may come.
  Status attach_front() {
    Result<Object> object = load_object(impl_.folder, front_object(), false);
    if (!object) return Error{object.error()};
    for (const Side side : kSides) {
      const std::string near = inner_name(front_.port[at(side)]);
      // Up first: veth tells its other end that it takes redirected frames when GRO is turned on
      // while it is up, and only then.
      if (Status up = change_port_flags(near, IFF_UP, 0); !up) return up;
      if (Status plain = make_plain_sender(near); !plain) return plain;
      if (Status off = turn_off_merging(impl_.interfaces[at(side)]); !off) return off;
      if (Status put = put_front(object->get(), "back_", side, front_.inner[at(side)]); !put)
        return put;
    }
    for (const Side side : kSides)
      if (Status put = put_front(object->get(), "front_", side, front_.port[at(side)]); !put)
        return put;
    return impl_.write_front(front_);
  }

  Status put_front(const bpf_object* object, const char* kind, Side side, std::uint32_t ifindex) {
    const std::string entry = std::string(kind) + kSideNames[at(side)];
    const bpf_program* program = bpf_object__find_program_by_name(object, entry.c_str());
    if (program == nullptr) return Error{"the BPF object has no program " + entry};
    const Result<bool> made = put_filter(ifindex, bpf_program__fd(program));
    if (!made) return Error{made.error()};
    if (*made && ifindex == front_.port[at(side)]) front_.own_hook[at(side)] = 1;
    return ok();
  }

  Status write_settings() {
    settings_.layout = STEER_LAYOUT;
    settings_.flags &= STEER_OPERATOR_BYPASS;  // an operator's order outlives us
    if (config_.failure == FailurePolicy::closed) settings_.flags |= STEER_FAIL_CLOSED;
    if (config_.mirror_link) settings_.flags |= STEER_MIRROR_LINK;
    if (config_.multi_buffer) settings_.flags |= STEER_MULTI_BUFFER;
    settings_.heartbeat_timeout_ns = config_.heartbeat_timeout;
    settings_.queues = config_.queues;
    settings_.watermark = config_.watermark;
    std::copy_n(config_.name.c_str(), config_.name.size() + 1, settings_.wire);
    for (const Side side : kSides) {
      Result<PortInfo> now = read_port(impl_.interfaces[at(side)]);
      if (!now) return Error{now.error()};
      settings_.ports[at(side)].max_frame = now->mtu + kFrameOverhead;
      if (!is_front()) continue;
      now = read_port(impl_.xdp_interfaces[at(side)]);
      if (!now) return Error{now.error()};
      std::uint32_t& most = settings_.ports[at(side)].max_frame;
      most = std::min(most, now->mtu + kFrameOverhead);
    }
    if (Status written = impl_.write_config(settings_); !written) return written;
    steer_ports bits;
    fill_ports(bits, config_.mail_ports);
    const std::uint32_t zero = 0;
    if (bpf_map_update_elem(impl_.mail_ports.get(), &zero, &bits, BPF_ANY) != 0)
      return failure("cannot set the mail ports");
    if (Status made = ensure_lists(impl_.folder, impl_.host_lists.get(), impl_.prefix_lists.get());
        !made)
      return made;
    // A device that was removed and came back is a new one: its old entry went with it.
    for (const Side side : kSides) {
      const auto key = static_cast<std::uint32_t>(side);
      if (bpf_map_update_elem(impl_.ports.get(), &key, &impl_.xdp_ifindexes[at(side)], BPF_ANY) !=
          0)
        return failure("cannot make " + impl_.xdp_interfaces[at(side)] + " a redirect target");
    }
    return ok();
  }

  Status attach_ports(const bpf_object* object) {
    const AttachMode mode = is_front() ? AttachMode::native : config_.mode;
    for (const Side side : kSides)
      if (Status done = attach_side(object, side, mode); !done) return done;
    // The kernel loses what is redirected from native mode to a port whose driver has none.
    for (const Side side : kSides) {
      if (is_generic(side) || !is_generic(opposite(side))) continue;
      if (Status done = attach_side(object, side, AttachMode::generic); !done) return done;
      impl_.warnings.push_back(impl_.interfaces[at(side)] + ": generic mode, since " +
                               impl_.interfaces[at(opposite(side))] + " takes no native XDP");
    }
    return impl_.write_config(settings_);
  }

  Status attach_side(const bpf_object* object, Side side, AttachMode mode) {
    const std::string& name = impl_.xdp_interfaces[at(side)];
    const std::string entry = std::string("steer_") + kSideNames[at(side)];
    const bpf_program* program = bpf_object__find_program_by_name(object, entry.c_str());
    if (program == nullptr) return Error{"the XDP object has no program " + entry};
    Result<AttachedPort> attached = attach_port(
        impl_.folder, side, name, impl_.xdp_ifindexes[at(side)], bpf_program__fd(program), mode);
    if (!attached) return Error{attached.error()};
    if (!attached->warning.empty()) impl_.warnings.push_back(attached->warning);
    std::uint32_t& flags = settings_.ports[at(side)].flags;
    flags &= ~static_cast<std::uint32_t>(STEER_PORT_GENERIC);
    if (attached->generic) flags |= STEER_PORT_GENERIC;
    // After the program: drivers, veth among them, change offloads when one is attached.
    if (Status off = turn_off_offloads(name, ports_[at(side)].driver, attached->generic); !off)
      return off;
    if (is_front())
      if (Status up = change_port_flags(name, IFF_UP, 0); !up) return up;
    if ((flags & STEER_PORT_MIRRORED_DOWN) == 0)
      if (Status up = change_port_flags(impl_.interfaces[at(side)], IFF_UP, 0); !up) return up;
    return ok();
  }

  static Side opposite(Side side) { return side == Side::inside ? Side::outside : Side::inside; }
  bool is_generic(Side side) const {
    return (settings_.ports[at(side)].flags & STEER_PORT_GENERIC) != 0;
  }

  const WireConfig& config_;
  Wire::Impl& impl_;
  PortInfo ports_[STEER_SIDES];
  steer_config settings_{};
  steer_front front_{};
};

Result<Wire> Wire::attach(const WireConfig& config, const std::string& base) {
  if (Status checked = check(config); !checked) return Error{checked.error()};
  libbpf_set_print(collect_words);
  auto impl = std::make_unique<Impl>();
  impl->name = config.name;
  impl->base = bpffs_base(base);
  impl->folder = wire_folder(impl->base, config.name);
  if (Status mounted = ensure_bpffs(impl->base, !base.empty()); !mounted)
    return Error{mounted.error()};
  // A process that detaches the wire at this moment may remove the folder between the two steps.
  Descriptor lock;
  for (int tries = 0; !lock; tries++) {
    if (Status made = make_folders(impl->folder); !made) return Error{made.error()};
    Result<Descriptor> held = lock_folder(impl->folder);
    if (held)
      lock = std::move(*held);
    else if (tries == 10)
      return Error{held.error()};
  }
  impl->adopted = !list_folder(impl->folder).empty();
  if (Status done = Attachment(config, *impl).run(); !done) {
    if (!impl->adopted) take_apart(impl->folder);
    return Error{"wire " + config.name + ": " + done.error()};
  }
  return Wire(std::move(impl));
}

Result<Wire> Wire::open(const std::string& name, const std::string& base) {
  if (!is_wire_name(name)) return Error{"no wire '" + name + "'"};
  auto impl = std::make_unique<Impl>();
  impl->name = name;
  impl->base = bpffs_base(base);
  impl->folder = wire_folder(impl->base, name);
  impl->adopted = true;
  if (Status opened = impl->open_maps(); !opened)
    return Error{"wire " + name + " is not attached: " + opened.error()};
  Result<steer_config> config = impl->read_config();
  if (!config) return Error{config.error()};
  const steer_front front = impl->read_front();
  if (config->layout != STEER_LAYOUT) return Error{"wire " + name + " is not attached completely"};
  for (const Side side : kSides) {
    const steer_port& port = config->ports[at(side)];
    impl->interfaces[at(side)].assign(port.name, strnlen(port.name, sizeof port.name));
    impl->ifindexes[at(side)] = impl->xdp_ifindexes[at(side)] = port.ifindex;
    impl->xdp_interfaces[at(side)] = impl->interfaces[at(side)];
    if (front.xdp[at(side)] == 0) continue;
    impl->xdp_ifindexes[at(side)] = front.xdp[at(side)];
    impl->xdp_interfaces[at(side)] = xdp_name(front.port[at(side)]);
  }
  return Wire(std::move(impl));
}

Status Wire::detach(const std::string& name, const std::string& base) {
  if (!is_wire_name(name)) return Error{"no wire '" + name + "'"};
  const std::string folder = wire_folder(bpffs_base(base), name);
  struct stat info {};
  if (stat(folder.c_str(), &info) != 0) return ok();
  const Result<Descriptor> lock = lock_folder(folder);
  if (!lock) return stat(folder.c_str(), &info) != 0 ? ok() : Status(Error{lock.error()});
  take_apart(folder);
  if (stat(folder.c_str(), &info) == 0)
    return Error{"cannot remove " + folder + ": something that is not ours is in it"};
  return ok();
}

Result<std::vector<std::string>> Wire::names(const std::string& base) {
  std::vector<std::string> found;
  for (std::string& name : list_folder(layout_folder(bpffs_base(base))))
    if (is_wire_name(name)) found.push_back(std::move(name));
  return found;
}

}  // namespace sluice::xdp
