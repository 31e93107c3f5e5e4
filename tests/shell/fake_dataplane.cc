// A dataplane that takes every policy and says what it now runs: a line of JSON for each, with the
// modes of wires and what is done to hosts. fake_dataplane SOCKET WIRE... -- HOST...
#include "tests/unit/control/fake_dataplane.h"

#include <poll.h>
#include <signal.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "control/identity/prefix.h"
#include "dataplane/policy/policy.h"

namespace {

using namespace sluice;
using namespace sluice::control;
using testing_support::FakeDataplane;

constexpr const char* kActions[] = {"allow", "limit", "tempfail", "reject", "tarpit", "block"};

class Program {
 public:
  Program(const char* socket, std::vector<std::string> wires, std::vector<std::string> hosts)
      : dataplane_(socket), wires_(std::move(wires)), hosts_(std::move(hosts)) {}

  void run() {
    while (true) {
      if (!dataplane_.client) {
        if (dataplane_.accept()) {
          dataplane_.say_hello();
        } else {
          ::poll(nullptr, 0, 5);
        }
        continue;
      }
      pollfd wait{dataplane_.client.get(), POLLIN, 0};
      ::poll(&wait, 1, 1000);
      if ((wait.revents & (POLLHUP | POLLERR)) != 0 && (wait.revents & POLLIN) == 0) {
        dataplane_.client = UniqueFd();
        continue;
      }
      if ((wait.revents & POLLIN) != 0 && !take()) dataplane_.client = UniqueFd();
    }
  }

 private:
  bool take() {
    auto got = dataplane_.receive();
    if (got.octets.empty()) return false;
    contract::ChannelPublishPolicy publish;
    if (got.octets.size() != sizeof publish) return true;
    std::memcpy(&publish, got.octets.data(), sizeof publish);
    std::vector<std::uint8_t> image(publish.size);
    if (::pread(got.fd.get(), image.data(), image.size(), 0) !=
        static_cast<ssize_t>(image.size())) {
      return false;
    }
    contract::ChannelPolicyAnswer answer;
    answer.epoch = publish.epoch;
    policy::Policy::Known known;
    if (live_) {
      known = {.rulesets = {{live_->ruleset_digest(), live_->shared_ruleset()}},
               .lists = {{live_->lists_digest(), live_->shared_lists()}}};
    }
    const auto opened = policy::Policy::open(Bytes(image), known);
    if (opened) {
      live_ = *opened;
      answer.status = contract::PolicyStatus::adopted;
      say(publish.epoch);
    } else {
      answer.status =
          live_ ? contract::PolicyStatus::refused : contract::PolicyStatus::needs_ruleset;
    }
    dataplane_.send(answer);
    return true;
  }

  void say(std::uint32_t epoch) const {
    nlohmann::json j = {
        {"epoch", epoch}, {"wires", nlohmann::json::object()}, {"hosts", nlohmann::json::object()}};
    for (const std::string& w : wires_) {
      if (const auto* wire = live_->wire(w); wire != nullptr) {
        j["wires"][w] = wire->mode == policy::Mode::enforce ? "enforce" : "monitor";
      }
    }
    for (const std::string& h : hosts_) {
      if (const auto* rule = live_->host(*parse_address(h)); rule != nullptr) {
        j["hosts"][h] = kActions[static_cast<std::size_t>(rule->action)];
      }
    }
    std::printf("%s\n", j.dump().c_str());
    std::fflush(stdout);
  }

  FakeDataplane dataplane_;
  std::vector<std::string> wires_;
  std::vector<std::string> hosts_;
  std::shared_ptr<const policy::Policy> live_;
};

}  // namespace

int main(int argc, char** argv) {
  ::signal(SIGPIPE, SIG_IGN);
  if (argc < 2) return 2;
  std::vector<std::string> wires;
  std::vector<std::string> hosts;
  std::vector<std::string>* into = &wires;
  for (int i = 2; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--") {
      into = &hosts;
    } else {
      into->emplace_back(argv[i]);
    }
  }
  Program(argv[1], std::move(wires), std::move(hosts)).run();
  return 0;
}
