// A frame of our own through the attached program, without leaving this machine: BPF_PROG_TEST_RUN
// carries a decision out on paper only.
#include <bpf/bpf.h>
#include <linux/bpf.h>

#include <algorithm>
#include <vector>

#include "xdp/loader/wire_impl.h"

namespace sluice::xdp {

Result<ProbeAnswer> Wire::probe(Side side, Bytes frame, std::uint32_t repeat) const {
  const std::string pin = impl_->folder + "/" + link_pin(side);
  const Descriptor link(bpf_obj_get(pin.c_str()));
  if (!link) return Error{"cannot open " + pin + ": " + std::strerror(errno)};
  bpf_link_info info{};
  __u32 size = sizeof info;
  if (bpf_obj_get_info_by_fd(link.get(), &info, &size) != 0)
    return Error{"cannot read " + pin + ": " + std::strerror(errno)};
  const Descriptor program(bpf_prog_get_fd_by_id(info.prog_id));
  if (!program) return Error{"cannot open the attached program: " + std::string(strerror(errno))};

  const Result<Counters> before = counters();
  std::vector<std::uint8_t> out(frame.size() + 64);
  xdp_md context{};
  context.data_end = static_cast<__u32>(frame.size());
  context.ingress_ifindex = impl_->xdp_ifindexes[static_cast<std::size_t>(side)];
  bpf_test_run_opts options{};
  options.sz = sizeof options;
  options.data_in = frame.data();
  options.data_size_in = static_cast<__u32>(frame.size());
  options.data_out = out.data();
  options.data_size_out = static_cast<__u32>(out.size());
  options.ctx_in = &context;
  options.ctx_size_in = sizeof context;
  options.repeat = static_cast<int>(std::clamp<std::uint32_t>(repeat, 1, 1000));
  if (bpf_prog_test_run_opts(program.get(), &options) != 0)
    return Error{"the attached program cannot be run: " + std::string(std::strerror(errno))};
  const Result<Counters> after = counters();
  if (!before || !after) return Error{before ? after.error() : before.error()};

  ProbeAnswer answer;
  answer.forwarded = options.retval == XDP_REDIRECT;
  answer.nanoseconds = options.duration;
  // Live traffic may be counted in between; ours is counted `repeat` times under one decision.
  std::uint64_t most = 0;
  for (std::uint32_t i = 0; i < STEER_COUNTER_COUNT; ++i) {
    const CounterClass kind = kCounters[i].kind;
    if (kind == CounterClass::total || kind == CounterClass::note) continue;
    const auto counter = static_cast<steer_counter>(i);
    const std::uint64_t frames = after->at(side, counter).frames - before->at(side, counter).frames;
    const bool fits = answer.forwarded ? kind == CounterClass::peer || kind == CounterClass::socket
                                       : kind == CounterClass::drop || kind == CounterClass::answer;
    if (!fits || frames < static_cast<std::uint64_t>(options.repeat) || frames <= most) continue;
    most = frames;
    answer.decision = std::string(kCounters[i].name);
    answer.to_dataplane = kind == CounterClass::socket;
  }
  return answer;
}

}  // namespace sluice::xdp
