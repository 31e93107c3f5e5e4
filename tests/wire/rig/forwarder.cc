// Forwards frames between two interfaces and does to them what a bad link does: loss, delay,
// jitter, reordering, duplication, corruption. Seeded: the n-th frame of a direction has the same
// fate each time. (Kernels of test machines often have no netem.)
//
//   rig_forwarder --left IF --right IF [--loss P] [--burst N] [--delay MS] [--jitter MS]
//                 [--reorder P] [--reorder-delay MS] [--duplicate P] [--corrupt P]
//                 [--direction both|right|left] [--limit FRAMES] [--seed N] [--duration S]
//
// P are probabilities from 0 to 1. Without options it is a plain wire. Prints "ready" when both
// interfaces are open, and on SIGTERM, SIGINT or at the end of --duration one JSON object with
// counts for each direction ("right": frames that came in left and go out right).
#include <arpa/inet.h>
#include <getopt.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <queue>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

namespace {

using Time = std::int64_t;  // nanoseconds, CLOCK_MONOTONIC
constexpr Time kMillisecond = 1'000'000;
constexpr std::size_t kBatch = 32;
constexpr std::size_t kLargestFrame = 65'536 + 18;

struct Options {
  std::string left;
  std::string right;
  double loss = 0;
  int burst = 1;  // frames that one loss takes
  double delay_ms = 0;
  double jitter_ms = 0;
  double reorder = 0;
  double reorder_delay_ms = 5;
  double duplicate = 0;
  double corrupt = 0;
  bool impair[2] = {true, true};  // by direction: 0 to the right, 1 to the left
  std::size_t limit = 100'000;
  std::uint64_t seed = 1;
  double duration_s = 0;
};

struct Counts {
  std::uint64_t received = 0, octets = 0, lost = 0, duplicated = 0, reordered = 0, corrupted = 0,
                overflow = 0, sent = 0, too_long = 0, send_errors = 0, receive_drops = 0;
};

Time now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return Time{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "rig_forwarder: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

// A raw socket that sees the frames that come in on one interface, with the tags that the kernel
// takes off them.
class Port {
 public:
  explicit Port(const std::string& name) : name_(name) {
    fd_ = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd_ < 0) fail("socket");
    const int one = 1;
    const int size = 32 << 20;
    if (setsockopt(fd_, SOL_PACKET, PACKET_AUXDATA, &one, sizeof one) != 0) fail("PACKET_AUXDATA");
    if (setsockopt(fd_, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one) != 0)
      fail("PACKET_IGNORE_OUTGOING");
    setsockopt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    setsockopt(fd_, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    packet_mreq promiscuous{};
    promiscuous.mr_ifindex = static_cast<int>(if_nametoindex(name.c_str()));
    if (promiscuous.mr_ifindex == 0) fail(name);
    promiscuous.mr_type = PACKET_MR_PROMISC;
    if (setsockopt(fd_, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof promiscuous) != 0)
      fail(name);
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ALL);
    address.sll_ifindex = promiscuous.mr_ifindex;
    if (bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail(name);
    for (auto& buffer : buffers_) buffer.resize(kLargestFrame);
  }
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;
  ~Port() { close(fd_); }

  int fd() const { return fd_; }

  // Calls take(frame) for what has come, at most a batch. Returns how many.
  template <typename Take>
  std::size_t receive(Take take) {
    std::array<mmsghdr, kBatch> messages{};
    std::array<iovec, kBatch> vectors{};
    for (std::size_t i = 0; i < kBatch; ++i) {
      vectors[i] = {buffers_[i].data() + 4, kLargestFrame - 4};  // room for the tag
      messages[i].msg_hdr.msg_iov = &vectors[i];
      messages[i].msg_hdr.msg_iovlen = 1;
      messages[i].msg_hdr.msg_control = controls_[i].data();
      messages[i].msg_hdr.msg_controllen = controls_[i].size();
    }
    const int count = recvmmsg(fd_, messages.data(), kBatch, MSG_DONTWAIT, nullptr);
    if (count < 0) {
      if (errno == EAGAIN || errno == EINTR || errno == ENETDOWN) return 0;
      fail(name_);
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i)
      take(with_tag(buffers_[i], messages[i].msg_len, messages[i].msg_hdr));
    return static_cast<std::size_t>(count);
  }

  // 0, or errno.
  int send(std::span<const std::uint8_t> frame) {
    for (int attempt = 0; attempt < 50; ++attempt) {
      if (::send(fd_, frame.data(), frame.size(), 0) >= 0) return 0;
      if (errno != ENOBUFS && errno != EAGAIN && errno != EINTR) return errno;
      const timespec pause{0, 100'000};
      nanosleep(&pause, nullptr);
    }
    return ENOBUFS;
  }

  // Frames that did not fit the socket since the last call.
  std::uint64_t drops() {
    tpacket_stats stats{};
    socklen_t size = sizeof stats;
    if (getsockopt(fd_, SOL_PACKET, PACKET_STATISTICS, &stats, &size) != 0) return 0;
    return stats.tp_drops;
  }

 private:
  static std::span<std::uint8_t> with_tag(std::vector<std::uint8_t>& buffer, std::size_t size,
                                          msghdr& header) {
    std::uint8_t* frame = buffer.data() + 4;
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
      if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA) continue;
      tpacket_auxdata aux{};
      std::memcpy(&aux, CMSG_DATA(c), sizeof aux);
      if ((aux.tp_status & TP_STATUS_VLAN_VALID) == 0 || size < 12) continue;
      const bool has_tpid = (aux.tp_status & TP_STATUS_VLAN_TPID_VALID) != 0;
      const std::uint16_t tpid = htons(has_tpid ? aux.tp_vlan_tpid : ETH_P_8021Q);
      const std::uint16_t tci = htons(aux.tp_vlan_tci);
      std::memmove(frame - 4, frame, 12);
      frame -= 4;
      std::memcpy(frame + 12, &tpid, 2);
      std::memcpy(frame + 14, &tci, 2);
      size += 4;
      break;
    }
    return {frame, size};
  }

  std::string name_;
  int fd_ = -1;
  std::array<std::vector<std::uint8_t>, kBatch> buffers_;
  alignas(cmsghdr) std::array<std::array<char, 256>, kBatch> controls_{};
};

class Forwarder {
 public:
  explicit Forwarder(const Options& options)
      : options_(options),
        ports_{Port(options.left), Port(options.right)},
        lanes_{Lane(options.seed * 2), Lane(options.seed * 2 + 1)} {}

  void run(int signal_fd) {
    const Time end = options_.duration_s > 0 ? now() + to_time(options_.duration_s * 1000) : 0;
    std::array<pollfd, 3> polled{};
    polled[0] = {ports_[0].fd(), POLLIN, 0};
    polled[1] = {ports_[1].fd(), POLLIN, 0};
    polled[2] = {signal_fd, POLLIN, 0};
    while (true) {
      Time wait = 100 * kMillisecond;
      if (!queue_.empty()) wait = std::min(wait, queue_.top().due - now());
      if (end != 0) wait = std::min(wait, end - now());
      wait = std::max<Time>(wait, 0);
      const timespec timeout{wait / 1'000'000'000, wait % 1'000'000'000};
      if (ppoll(polled.data(), polled.size(), &timeout, nullptr) < 0 && errno != EINTR)
        fail("ppoll");
      if ((polled[2].revents & POLLIN) != 0 || (end != 0 && now() >= end)) return;
      for (std::size_t from = 0; from < 2; ++from) {
        if (polled[from].revents == 0) continue;
        ports_[from].receive([&](std::span<std::uint8_t> frame) { take(from, frame); });
      }
      send_due();
    }
  }

  void print() {
    for (std::size_t i = 0; i < 2; ++i) lanes_[i].counts.receive_drops += ports_[i].drops();
    std::printf("{");
    for (std::size_t i = 0; i < 2; ++i) {
      const Counts& c = lanes_[i].counts;
      const std::pair<const char*, std::uint64_t> values[] = {{"received", c.received},
                                                              {"octets", c.octets},
                                                              {"lost", c.lost},
                                                              {"duplicated", c.duplicated},
                                                              {"reordered", c.reordered},
                                                              {"corrupted", c.corrupted},
                                                              {"overflow", c.overflow},
                                                              {"sent", c.sent},
                                                              {"too_long", c.too_long},
                                                              {"send_errors", c.send_errors},
                                                              {"receive_drops", c.receive_drops}};
      std::printf("%s\"%s\": {", i == 0 ? "" : ", ", i == 0 ? "right" : "left");
      for (std::size_t k = 0; k < std::size(values); ++k)
        std::printf("%s\"%s\": %llu", k == 0 ? "" : ", ", values[k].first,
                    static_cast<unsigned long long>(values[k].second));
      std::printf("}");
    }
    std::printf(", \"queued\": %zu}\n", queue_.size());
    std::fflush(stdout);
  }

 private:
  // What belongs to one direction: its fates, its counts, and the time after which the next frame
  // may leave without overtaking.
  struct Lane {
    explicit Lane(std::uint64_t seed) : random(seed) {}
    std::mt19937_64 random;
    Counts counts;
    Time last_due = 0;
    int losing = 0;

    // Not std::uniform_real_distribution, whose use of the generator is not fixed.
    double draw() { return static_cast<double>(random() >> 11) * 0x1.0p-53; }
  };

  struct Held {
    Time due;
    std::uint64_t number;
    std::size_t to;
    std::vector<std::uint8_t> frame;
    bool operator<(const Held& other) const {  // the earliest on top
      return std::pair(due, number) > std::pair(other.due, other.number);
    }
  };

  static Time to_time(double ms) {
    return static_cast<Time>(ms * static_cast<double>(kMillisecond));
  }

  void take(std::size_t from, std::span<std::uint8_t> frame) {
    Lane& lane = lanes_[from];
    ++lane.counts.received;
    lane.counts.octets += frame.size();
    // All are drawn for each frame, so that its fate does not depend on options of other kinds.
    const double loss = lane.draw();
    const double duplicate = lane.draw();
    const double reorder = lane.draw();
    const double corrupt = lane.draw();
    const double jitter = lane.draw();
    const std::uint64_t place = lane.random();
    if (!options_.impair[from]) return leave(from, frame, 0, false);
    if (lane.losing == 0 && loss < options_.loss) lane.losing = options_.burst;
    if (lane.losing > 0) {
      --lane.losing;
      ++lane.counts.lost;
      return;
    }
    if (corrupt < options_.corrupt && frame.size() > ETH_HLEN) {
      // Behind the MAC addresses and the type: it should still arrive.
      const std::size_t at = ETH_HLEN + place % (frame.size() - ETH_HLEN);
      frame[at] = static_cast<std::uint8_t>(frame[at] ^ (1U << (place >> 60 & 7)));
      ++lane.counts.corrupted;
    }
    const bool overtaken = reorder < options_.reorder;
    Time delay = to_time(options_.delay_ms + jitter * options_.jitter_ms);
    if (overtaken) {
      delay += to_time(options_.reorder_delay_ms);
      ++lane.counts.reordered;
    }
    leave(from, frame, delay, overtaken);
    if (duplicate < options_.duplicate) {
      ++lane.counts.duplicated;
      leave(from, frame, delay, overtaken);
    }
  }

  void leave(std::size_t from, std::span<const std::uint8_t> frame, Time delay, bool overtaken) {
    Lane& lane = lanes_[from];
    Time due = delay == 0 ? 0 : now() + delay;
    if (!overtaken) {
      due = std::max(due, lane.last_due);
      lane.last_due = due;
    }
    if (due == 0 || (queue_.empty() && due <= now())) return send(1 - from, frame);
    if (queue_.size() >= options_.limit) {
      ++lane.counts.overflow;
      return;
    }
    queue_.push({due, ++number_, 1 - from, {frame.begin(), frame.end()}});
  }

  void send_due() {
    while (!queue_.empty() && queue_.top().due <= now()) {
      send(queue_.top().to, queue_.top().frame);
      queue_.pop();
    }
  }

  void send(std::size_t to, std::span<const std::uint8_t> frame) {
    Counts& counts = lanes_[1 - to].counts;
    const int error = ports_[to].send(frame);
    if (error == 0) {
      ++counts.sent;
    } else if (error == EMSGSIZE) {
      ++counts.too_long;
    } else {
      ++counts.send_errors;
    }
  }

  Options options_;
  Port ports_[2];
  Lane lanes_[2];
  std::priority_queue<Held> queue_;
  std::uint64_t number_ = 0;
};

double number(const char* text, double most) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (end == text || *end != '\0' || !(value >= 0) || value > most) {
    std::fprintf(stderr, "rig_forwarder: bad value '%s'\n", text);
    std::exit(2);
  }
  return value;
}

Options read_options(int argc, char** argv) {
  enum : int {
    left,
    right,
    loss,
    burst,
    delay,
    jitter,
    reorder,
    reorder_delay,
    duplicate,
    corrupt,
    direction,
    limit,
    seed,
    duration,
    help
  };
  static const option kNames[] = {
      {"left", 1, nullptr, left},           {"right", 1, nullptr, right},
      {"loss", 1, nullptr, loss},           {"burst", 1, nullptr, burst},
      {"delay", 1, nullptr, delay},         {"jitter", 1, nullptr, jitter},
      {"reorder", 1, nullptr, reorder},     {"reorder-delay", 1, nullptr, reorder_delay},
      {"duplicate", 1, nullptr, duplicate}, {"corrupt", 1, nullptr, corrupt},
      {"direction", 1, nullptr, direction}, {"limit", 1, nullptr, limit},
      {"seed", 1, nullptr, seed},           {"duration", 1, nullptr, duration},
      {"help", 0, nullptr, help},           {nullptr, 0, nullptr, 0}};
  Options o;
  bool good = true;
  for (int chosen = 0; (chosen = getopt_long(argc, argv, "", kNames, nullptr)) != -1;) {
    switch (chosen) {
      case left:
        o.left = optarg;
        break;
      case right:
        o.right = optarg;
        break;
      case loss:
        o.loss = number(optarg, 1);
        break;
      case burst:
        o.burst = std::max(1, static_cast<int>(number(optarg, 1e6)));
        break;
      case delay:
        o.delay_ms = number(optarg, 1e6);
        break;
      case jitter:
        o.jitter_ms = number(optarg, 1e6);
        break;
      case reorder:
        o.reorder = number(optarg, 1);
        break;
      case reorder_delay:
        o.reorder_delay_ms = number(optarg, 1e6);
        break;
      case duplicate:
        o.duplicate = number(optarg, 1);
        break;
      case corrupt:
        o.corrupt = number(optarg, 1);
        break;
      case direction:
        o.impair[0] = std::strcmp(optarg, "left") != 0;
        o.impair[1] = std::strcmp(optarg, "right") != 0;
        good = good && (std::strcmp(optarg, "both") == 0 || o.impair[0] != o.impair[1]);
        break;
      case limit:
        o.limit = static_cast<std::size_t>(number(optarg, 1e9));
        break;
      case seed:
        o.seed = static_cast<std::uint64_t>(number(optarg, 1e15));
        break;
      case duration:
        o.duration_s = number(optarg, 1e6);
        break;
      default:
        good = false;
        break;
    }
  }
  if (!good || o.left.empty() || o.right.empty() || optind != argc) {
    std::fprintf(
        stderr,
        "usage: rig_forwarder --left IF --right IF [--loss P] [--burst N] [--delay MS]\n"
        "  [--jitter MS] [--reorder P] [--reorder-delay MS] [--duplicate P] [--corrupt P]\n"
        "  [--direction both|right|left] [--limit FRAMES] [--seed N] [--duration S]\n");
    std::exit(2);
  }
  return o;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = read_options(argc, argv);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  const int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
  if (signal_fd < 0) fail("signalfd");
  Forwarder forwarder(options);
  std::printf("ready\n");
  std::fflush(stdout);
  forwarder.run(signal_fd);
  forwarder.print();
  close(signal_fd);
  return 0;
}
