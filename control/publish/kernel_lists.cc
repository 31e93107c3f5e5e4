#include "control/publish/kernel_lists.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace sluice::control {
namespace {

auto key(const KernelEntry& e) { return std::tie(e.prefix.address, e.prefix.length); }
bool before(const KernelEntry& a, const KernelEntry& b) { return key(a) < key(b); }

struct Difference {
  std::vector<KernelEntry> put;
  std::vector<Prefix> remove;
};

// Both ordered by prefix.
Difference difference(const std::vector<KernelEntry>& has, const std::vector<KernelEntry>& wanted) {
  Difference d;
  auto h = has.begin();
  auto w = wanted.begin();
  while (h != has.end() || w != wanted.end()) {
    if (w == wanted.end() || (h != has.end() && before(*h, *w))) {
      d.remove.push_back((h++)->prefix);
    } else if (h == has.end() || before(*w, *h)) {
      d.put.push_back(*w++);
    } else {
      if (!(*h == *w)) d.put.push_back(*w);
      ++h;
      ++w;
    }
  }
  return d;
}

}  // namespace

struct KernelLists::Shared {
  struct Live {
    std::unique_ptr<KernelWire> wire;
    std::vector<KernelEntry> entries;  // what the kernel has, ordered
    std::vector<std::uint16_t> ports;
    policy::Exception failure{};
    bool settled = false;  // ports and failure were set
    std::string error;
  };
  OpenKernelWire open;
  std::map<std::string, Live> live;
  std::vector<KernelEntry> wanted;  // ordered

  void step(const Wanted& wanted, const std::vector<std::uint16_t>& ports,
            const std::vector<KernelEntry>& entries) {
    Live& l = live[wanted.wire];
    l.error.clear();
    if (!l.wire) {
      auto opened = open(wanted.wire);
      if (!opened) {
        l.error = opened.error();
        return;
      }
      auto has = (*opened)->entries();
      if (!has) {
        l.error = has.error();
        return;
      }
      l.wire = std::move(*opened);
      l.entries = std::move(*has);
      std::sort(l.entries.begin(), l.entries.end(), before);
      l.settled = false;
    }
    if (const Status s = apply(l, wanted, ports, entries); !s) {
      l.error = s.error();
      l.wire.reset();  // read back next time: what is in the kernel is no longer known
    }
  }

  static Status apply(Live& l, const Wanted& wanted, const std::vector<std::uint16_t>& ports,
                      const std::vector<KernelEntry>& all) {
    if (!l.settled || l.ports != ports || l.failure != wanted.failure) {
      if (auto s = l.wire->set(ports, wanted.failure); !s) return s;
      l.ports = ports;
      l.failure = wanted.failure;
      l.settled = true;
    }
    static const std::vector<KernelEntry> kNone;
    const std::vector<KernelEntry>& target = wanted.enforce ? all : kNone;
    const Difference d = difference(l.entries, target);
    if (d.put.empty() && d.remove.empty()) return ok();
    if (d.put.size() + d.remove.size() > kMostSingleChanges) {
      if (auto s = l.wire->replace(target); !s) return s;
    } else {
      // Allows first: a host taken out of a block must not be blocked for an instant.
      for (const bool allow : {true, false}) {
        for (const KernelEntry& e : d.put) {
          if (e.allow != allow) continue;
          if (auto s = l.wire->put(e); !s) return s;
        }
      }
      for (const Prefix& p : d.remove) {
        if (auto s = l.wire->remove(p); !s) return s;
      }
    }
    l.entries = target;
    return ok();
  }
};

KernelLists::KernelLists(Executor& executor, OpenKernelWire open)
    : executor_(executor), shared_(std::make_shared<Shared>()) {
  shared_->open = std::move(open);
}

void KernelLists::want(std::vector<Wanted> wires, std::vector<std::uint16_t> mail_ports,
                       Entries entries) {
  wires_ = std::move(wires);
  mail_ports_ = std::move(mail_ports);
  new_entries_ = std::move(entries);
  dirty_ = true;
  start();
}

void KernelLists::probe(const std::string& wire, std::uint16_t mail_port, std::uint32_t count,
                        std::function<void(const std::vector<KernelProbe>&)> done) {
  auto probes = std::make_shared<std::vector<KernelProbe>>();
  executor_.run(
      [shared = shared_, wire, mail_port, count, probes] {
        const auto found = shared->live.find(wire);
        if (found != shared->live.end() && found->second.wire) {
          *probes = found->second.wire->probe(mail_port, count);
        }
      },
      [probes, done = std::move(done)] { done(*probes); });
}

void KernelLists::reopen() {
  reopen_ = true;
  dirty_ = true;
  start();
}

void KernelLists::refresh() {
  dirty_ = true;
  start();
}

void KernelLists::start() {
  if (!dirty_ || running_) return;
  dirty_ = false;
  running_ = true;
  auto states = std::make_shared<std::map<std::string, KernelState>>();
  executor_.run(
      [shared = shared_, states, wires = wires_, ports = mail_ports_,
       entries = std::exchange(new_entries_, {}), reopen = std::exchange(reopen_, false)] {
        if (entries) shared->wanted = entries();
        if (reopen) shared->live.clear();
        std::erase_if(shared->live, [&](const auto& l) {
          return std::none_of(wires.begin(), wires.end(),
                              [&](const Wanted& w) { return w.wire == l.first; });
        });
        for (const Wanted& w : wires) {
          shared->step(w, ports, shared->wanted);
          const Shared::Live& l = shared->live[w.wire];
          KernelState& state = (*states)[w.wire];
          state.open = l.wire != nullptr;
          state.error = l.error;
          state.entries = l.wire != nullptr ? l.entries.size() : 0;
          if (l.wire) l.wire->read_state(state);
        }
      },
      [this, states] {
        running_ = false;
        states_ = std::move(*states);
        start();
      });
}

}  // namespace sluice::control
