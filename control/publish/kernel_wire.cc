// KernelWire by the XDP loader.
#include <algorithm>

#include "control/publish/kernel_lists.h"
#include "xdp/loader/loader.h"

namespace sluice::control {
namespace {

xdp::Prefix kernel_prefix(const Prefix& p) { return {p.address, p.length}; }

xdp::ListEntry kernel_entry(const KernelEntry& e) {
  xdp::ListEntry k;
  k.prefix = kernel_prefix(e.prefix);
  k.scope = xdp::ListScope::mail;
  k.action = e.allow                         ? xdp::ListAction::allow
             : e.action == BlockAction::drop ? xdp::ListAction::drop
                                             : xdp::ListAction::reset;
  k.expires = e.expires;
  return k;
}

// An Ethernet frame from one documentation address to another (RFC 5737): a TCP SYN, or an empty
// UDP datagram to the discard port. It goes nowhere but through the program, so no checksum is
// read.
std::vector<std::uint8_t> probe_frame(bool inside, bool tcp, std::uint16_t port) {
  std::vector<std::uint8_t> f(60, 0);
  f[0] = f[6] = 0x02;  // locally administered
  f[5] = 1;
  f[11] = 2;
  f[12] = 0x08;  // IPv4
  std::uint8_t* ip = f.data() + 14;
  ip[0] = 0x45;
  ip[3] = tcp ? 40 : 28;
  ip[8] = 64;
  ip[9] = tcp ? 6 : 17;
  const std::uint8_t client[4] = {192, 0, 2, 1};
  const std::uint8_t server[4] = {198, 51, 100, 1};
  std::copy(client, client + 4, ip + (inside ? 12 : 16));
  std::copy(server, server + 4, ip + (inside ? 16 : 12));
  std::uint8_t* l4 = ip + 20;
  const std::uint16_t ports[2] = {inside ? std::uint16_t{40000} : port,
                                  inside ? port : std::uint16_t{40000}};
  for (int i = 0; i < 2; ++i) {
    l4[2 * i] = static_cast<std::uint8_t>(ports[i] >> 8);
    l4[2 * i + 1] = static_cast<std::uint8_t>(ports[i] & 0xff);
  }
  if (tcp) {
    l4[12] = 0x50;
    l4[13] = inside ? 0x02 : 0x12;  // SYN, or SYN and ACK
  } else {
    l4[5] = 8;
  }
  return f;
}

class LoaderWire final : public KernelWire {
 public:
  explicit LoaderWire(xdp::Wire wire) : wire_(std::move(wire)) {}

  Status put(const KernelEntry& entry) override { return wire_.put_entry(kernel_entry(entry)); }
  Status remove(const Prefix& prefix) override { return wire_.remove_entry(kernel_prefix(prefix)); }
  Status replace(std::span<const KernelEntry> entries) override {
    std::vector<xdp::ListEntry> all;
    all.reserve(entries.size());
    for (const KernelEntry& e : entries) all.push_back(kernel_entry(e));
    return wire_.replace_lists(all);
  }
  Result<std::vector<KernelEntry>> entries() override {
    auto live = wire_.entries();
    if (!live) return Error{live.error()};
    std::vector<KernelEntry> all;
    for (const xdp::ListEntry& k : *live) {
      KernelEntry e;
      e.prefix = {k.prefix.address, k.prefix.length};
      e.allow = k.action == xdp::ListAction::allow;
      e.action = k.action == xdp::ListAction::drop ? BlockAction::drop : BlockAction::reset;
      e.expires = k.expires;
      // What control never writes differs from all that it wants, and so is written anew.
      if (k.action == xdp::ListAction::limit || k.scope != xdp::ListScope::mail) e.expires = 1;
      all.push_back(e);
    }
    return all;
  }
  Status set(std::span<const std::uint16_t> mail_ports, policy::Exception failure) override {
    if (auto s = wire_.set_mail_ports(mail_ports); !s) return s;
    return wire_.set_failure_policy(failure == policy::Exception::fail_closed
                                        ? xdp::FailurePolicy::closed
                                        : xdp::FailurePolicy::open);
  }
  void read_state(KernelState& state) override {
    if (const auto s = wire_.state(); s) {
      state.alive = s->alive();
      state.bypass = s->operator_bypass;
      for (std::size_t i = 0; i < 2; ++i) {
        const xdp::PortState& p = s->ports[i];
        state.ports[i] = {p.name, p.driver, p.attached, p.generic, p.front, p.up, p.carrier, p.mtu};
      }
    } else {
      state.error = s.error();
    }
    const auto counters = wire_.counters();
    if (!counters) return;
    constexpr const char* kKinds[] = {"total", "peer", "socket", "answer", "drop", "note"};
    for (std::size_t side = 0; side < STEER_SIDES; ++side) {
      for (std::size_t i = 0; i < STEER_COUNTER_COUNT; ++i) {
        const xdp::CounterValue& v = counters->values[side][i];
        state.counters.push_back(
            {side == 0 ? "inside" : "outside", std::string(xdp::kCounters[i].name),
             kKinds[static_cast<std::size_t>(xdp::kCounters[i].kind)], v.frames, v.octets});
      }
    }
  }

  std::vector<KernelProbe> probe(std::uint16_t mail_port, std::uint32_t count) override {
    constexpr std::uint16_t kDiscard = 9;
    std::vector<KernelProbe> all;
    for (const Side side : {Side::inside, Side::outside}) {
      for (const bool mail : {true, false}) {
        KernelProbe p;
        p.side = side == Side::inside ? "inside" : "outside";
        p.what = mail ? "mail segment" : "other frame";
        const auto frame = probe_frame(side == Side::inside, mail, mail ? mail_port : kDiscard);
        if (const auto answer = wire_.probe(side, frame, count); answer) {
          p.good = answer->forwarded;
          p.decision = answer->decision.empty()
                           ? (answer->forwarded ? "forwarded" : "not forwarded")
                           : answer->decision;
          p.nanoseconds = answer->nanoseconds;
        } else {
          p.error = answer.error();
        }
        all.push_back(std::move(p));
      }
    }
    return all;
  }

 private:
  xdp::Wire wire_;
};

}  // namespace

OpenKernelWire kernel_wires_of_loader(const std::string& bpffs) {
  return [bpffs](const std::string& name) -> Result<std::unique_ptr<KernelWire>> {
    auto wire = xdp::Wire::open(name, bpffs);
    if (!wire) return Error{wire.error()};
    return std::unique_ptr<KernelWire>(std::make_unique<LoaderWire>(std::move(*wire)));
  };
}

}  // namespace sluice::control
