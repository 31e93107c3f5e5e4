// The ends of the wire bench, and the barest wire.
//
//   wire_load serve ADDRESS PORT [--threads N] [--greeting TEXT]   an SMTP server that takes
//     everything; with another greeting nobody takes it for one
//   wire_load ping ADDRESS PORT [--count N] [--interval US]   round trips of NOOP on one connection
//   wire_load connect ADDRESS PORT [--seconds S] [--threads N]  connect, greeting, QUIT, again
//   wire_load mail ADDRESS PORT --messages FILE... [--count N] [--threads N] [--local ADDRESS]
//     each on its connection; with --rate N --seconds S so many are begun a second, whatever
//     becomes of them, as long as a thread is free
//   wire_load flood INTERFACE MAC ADDRESS PORT [--seconds S] [--rate N]  SYNs from random addresses
//   wire_load redirect INSIDE OUTSIDE     an XDP program that redirects, until stdin ends
//
// Each prints "ready" when it is (serve, redirect) or one line of JSON at its end.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>
#include <vector>

#include "perf/support/measure.h"
#include "tests/unit/support/frame_builder.h"

namespace sluice::perf {
namespace {

struct Options {
  std::string address;
  std::string local;
  std::string greeting = "220 far.example ESMTP";
  std::uint16_t port = 25;
  unsigned threads = 16;
  unsigned count = 2000;
  unsigned interval = 1000;  // microseconds
  double seconds = 2;
  double rate = 0;  // a second; 0: as fast as it goes
  std::string interface;
  std::string other;
  std::string mac;
  std::vector<std::string> messages;
};

double now() { return seconds_of(CLOCK_MONOTONIC); }

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "wire_load: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

sockaddr_in address_of(const std::string& text, std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (inet_pton(AF_INET, text.c_str(), &address.sin_addr) != 1) fail(text);
  return address;
}
sockaddr_in address_of(const Options& options) { return address_of(options.address, options.port); }

int tcp_socket() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int one = 1;
  if (fd < 0) fail("socket");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  const timeval patience{.tv_sec = 20, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return fd;
}

bool say(int fd, std::string_view text) {
  return send(fd, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

// Up to `end`, by default one line; false when the other end has closed.
bool hear(int fd, std::string& line, std::string_view end = "\n") {
  line.clear();
  char text[16384];
  while (!line.ends_with(end)) {
    const ssize_t n = recv(fd, text, sizeof text, 0);
    if (n < 0 && errno == EINTR) continue;  // stopped and continued (signal(7), SO_RCVTIMEO)
    if (n == 0) errno = ECONNRESET;
    if (n <= 0) return false;
    line.append(text, static_cast<std::size_t>(n));
  }
  return true;
}

void talk(int fd, const std::string& greeting) {
  std::string line;
  bool goes_on = say(fd, greeting + "\r\n");
  while (goes_on && hear(fd, line)) {
    if (line.starts_with("DATA")) goes_on = say(fd, "354 Go on\r\n") && hear(fd, line, "\r\n.\r\n");
    if (!goes_on) break;
    const bool quits = line.starts_with("QUIT");
    goes_on = say(fd, quits ? "221 2.0.0 Bye\r\n" : "250 2.0.0 Ok\r\n") && !quits;
  }
  close(fd);
}

int serve(const Options& options) {
  const int listener = tcp_socket();
  const int one = 1;
  const timeval forever{};
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof forever);
  const sockaddr_in address = address_of(options);
  if (bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(listener, 4096) != 0)
    fail("listen");
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < options.threads; ++i) {
    threads.emplace_back([listener, &options] {
      for (;;) {
        const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) continue;
        const int yes = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        talk(fd, options.greeting);
      }
    });
  }
  std::printf("ready\n");
  std::fflush(stdout);
  for (auto& thread : threads) thread.join();
  return 0;
}

int connected(const Options& options) {
  const int fd = tcp_socket();
  const sockaddr_in address = address_of(options);
  if (!options.local.empty()) {
    const sockaddr_in local = address_of(options.local, 0);
    const int one = 1;
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(fd, reinterpret_cast<const sockaddr*>(&local), sizeof local) != 0) fail(options.local);
  }
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    close(fd);
    return -1;
  }
  return fd;
}

int ping(const Options& options) {
  const int fd = connected(options);
  std::string line;
  if (fd < 0 || !hear(fd, line)) fail("connect");
  std::vector<double> micros;
  for (unsigned i = 0; i < options.count; ++i) {
    const timespec pause{.tv_sec = options.interval / 1'000'000,
                         .tv_nsec = static_cast<long>(options.interval % 1'000'000) * 1000};
    nanosleep(&pause, nullptr);
    const double begin = now();
    if (!say(fd, "NOOP\r\n") || !hear(fd, line)) fail("the connection broke");
    micros.push_back((now() - begin) * 1e6);
  }
  say(fd, "QUIT\r\n");
  std::ranges::sort(micros);
  const auto at = [&](double share) {
    return micros[std::min(micros.size() - 1,
                           static_cast<std::size_t>(share * static_cast<double>(micros.size())))];
  };
  const nlohmann::ordered_json report{
      {"pings", micros.size()}, {"p10", at(0.1)},    {"p50", at(0.5)},          {"p90", at(0.9)},
      {"p99", at(0.99)},        {"p999", at(0.999)}, {"longest", micros.back()}};
  std::printf("%s\n", report.dump().c_str());
  return 0;
}

int connect_often(const Options& options) {
  std::atomic<std::uint64_t> done = 0;
  std::atomic<std::uint64_t> failed = 0;
  const double begin = now();
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < options.threads; ++i) {
    threads.emplace_back([&] {
      std::string line;
      while (now() - begin < options.seconds) {
        const int fd = connected(options);
        const bool good = fd >= 0 && hear(fd, line) && say(fd, "QUIT\r\n") && hear(fd, line) &&
                          line.starts_with("221");
        ++(good ? done : failed);
        if (fd >= 0) close(fd);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  const double seconds = now() - begin;
  std::printf("%s\n", nlohmann::ordered_json{{"connections", done.load()},
                                             {"failed", failed.load()},
                                             {"seconds", seconds},
                                             {"per_second", static_cast<double>(done) / seconds}}
                          .dump()
                          .c_str());
  return 0;
}

// Says it and hears a reply of that first digit.
bool ask(int fd, std::string_view text, char digit, std::string& line) {
  return say(fd, text) && hear(fd, line) && line.starts_with(digit);
}

// One message on a connection of its own: whether it was accepted.
bool deliver(const Options& options, std::string_view message, std::string& line) {
  const int fd = connected(options);
  if (fd < 0) return false;
  const bool good = hear(fd, line) && ask(fd, "EHLO customer.example\r\n", '2', line) &&
                    ask(fd, "MAIL FROM:<a@customer.example>\r\n", '2', line) &&
                    ask(fd, "RCPT TO:<b@elsewhere.example>\r\n", '2', line) &&
                    ask(fd, "DATA\r\n", '3', line) && ask(fd, message, '2', line);
  if (good) ask(fd, "QUIT\r\n", '2', line);
  close(fd);
  return good;
}

// Waits until the `n`th is due, at so many a second; false when it is no more.
bool await_turn(const Options& options, unsigned n, double begin) {
  if (options.rate <= 0) return n < options.count;
  const double due = n / options.rate;
  if (due >= options.seconds || now() - begin >= options.seconds) return false;
  const double pause = begin + due - now();
  if (pause > 0) usleep(static_cast<useconds_t>(pause * 1e6));
  return true;
}

int mail(const Options& options) {
  std::vector<std::string> messages;
  for (const std::string& path : options.messages) {
    std::ifstream file(path, std::ios::binary);
    messages.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    if (!messages.back().ends_with("\r\n")) fail(path);
    messages.back() += ".\r\n";
  }
  std::atomic<unsigned> next = 0;
  std::atomic<unsigned> begun = 0;
  std::atomic<unsigned> accepted = 0;
  std::vector<std::vector<double>> took(options.threads);
  const double begin = now();
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < options.threads; ++i) {
    threads.emplace_back([&, i] {
      std::string line;
      for (unsigned n = next++; await_turn(options, n, begin); n = next++) {
        ++begun;
        const double start = now();
        if (!deliver(options, messages[n % messages.size()], line)) continue;
        ++accepted;
        took[i].push_back((now() - start) * 1e3);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  const double seconds = now() - begin;
  std::vector<double> all;
  for (const auto& some : took) all.insert(all.end(), some.begin(), some.end());
  std::ranges::sort(all);
  const auto at = [&](double share) {
    return all.empty() ? 0.0
                       : all[static_cast<std::size_t>(share * static_cast<double>(all.size() - 1))];
  };
  std::printf("%s\n", nlohmann::ordered_json{{"begun", begun.load()},
                                             {"accepted", accepted.load()},
                                             {"seconds", seconds},
                                             {"per_second", accepted / seconds},
                                             {"p50_ms", at(0.5)},
                                             {"p99_ms", at(0.99)}}
                          .dump()
                          .c_str());
  return 0;
}

int flood(const Options& options) {
  constexpr std::size_t kBatch = 64;
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_ifindex = static_cast<int>(if_nametoindex(options.interface.c_str()));
  if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    fail(options.interface);
  std::mt19937_64 random(1);
  std::vector<test::Frame> frames(kBatch);
  std::vector<iovec> parts(kBatch);
  std::vector<mmsghdr> messages(kBatch);
  test::Path path;
  in_addr to{};
  if (inet_pton(AF_INET, options.address.c_str(), &to) != 1) fail(options.address);
  const auto* octets = reinterpret_cast<const std::uint8_t*>(&to);
  path.server = {Address::from_v4(octets), options.port};
  unsigned mac[6];
  if (std::sscanf(options.mac.c_str(), "%x:%x:%x:%x:%x:%x", &mac[0], &mac[1], &mac[2], &mac[3],
                  &mac[4], &mac[5]) != 6)
    fail(options.mac);
  std::uint64_t sent = 0;
  const double begin = now();
  while (now() - begin < options.seconds) {
    if (options.rate > 0 && static_cast<double>(sent) > (now() - begin) * options.rate) {
      usleep(200);
      continue;
    }
    for (std::size_t i = 0; i < kBatch; ++i) {
      const std::uint64_t n = random();
      path.client = {test::v4(10, n >> 16 & 0xff, n >> 8 & 0xff, n & 0xff),
                     static_cast<std::uint16_t>(1024 + (n >> 24) % 60'000)};
      frames[i] = test::padded(test::tcp_frame(
          path, Direction::to_server,
          {.sequence = static_cast<std::uint32_t>(n >> 32), .flags = test::tcp_flags::kSyn}));
      for (std::size_t k = 0; k < 6; ++k) frames[i][k] = static_cast<std::uint8_t>(mac[k]);
      parts[i] = {.iov_base = frames[i].data(), .iov_len = frames[i].size()};
      messages[i] = {};
      messages[i].msg_hdr.msg_iov = &parts[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
    const int n = sendmmsg(fd, messages.data(), kBatch, 0);
    if (n > 0) sent += static_cast<std::uint64_t>(n);
  }
  const double seconds = now() - begin;
  std::printf("%s\n", nlohmann::ordered_json{{"syns", sent},
                                             {"per_second", static_cast<double>(sent) / seconds}}
                          .dump()
                          .c_str());
  return 0;
}

// Redirects every frame to the element 0 of a devmap.
int redirect(const Options& options) {
  const int ports[2] = {static_cast<int>(if_nametoindex(options.interface.c_str())),
                        static_cast<int>(if_nametoindex(options.other.c_str()))};
  for (int i = 0; i < 2; ++i) {
    const int map = bpf_map_create(BPF_MAP_TYPE_DEVMAP, "peer", 4, 4, 1, nullptr);
    const int key = 0;
    if (map < 0 || bpf_map_update_elem(map, &key, &ports[1 - i], 0) != 0) fail("devmap");
    const bpf_insn code[] = {
        {.code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = map},
        {},
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .imm = 0},
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3, .imm = 0},
        {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect_map},
        {.code = BPF_JMP | BPF_EXIT}};
    const int program =
        bpf_prog_load(BPF_PROG_TYPE_XDP, "redirect", "GPL", code, std::size(code), nullptr);
    if (program < 0) fail("load");
    // The link's descriptor holds it, and ends with this process.
    if (bpf_link_create(program, ports[i], BPF_XDP, nullptr) < 0) fail("attach");
  }
  std::printf("ready\n");
  std::fflush(stdout);
  char octet;
  while (read(STDIN_FILENO, &octet, 1) > 0) {
  }
  return 0;
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("The ends of the wire bench, and the barest wire.");
  app.require_subcommand(1);
  auto* server = app.add_subcommand("serve");
  auto* pinger = app.add_subcommand("ping");
  auto* connector = app.add_subcommand("connect");
  auto* mailer = app.add_subcommand("mail");
  auto* flooder = app.add_subcommand("flood");
  auto* redirector = app.add_subcommand("redirect");
  flooder->add_option("INTERFACE", options.interface)->required();
  flooder->add_option("MAC", options.mac)->required();
  for (CLI::App* command : {server, pinger, connector, mailer, flooder}) {
    command->add_option("ADDRESS", options.address)->required();
    command->add_option("PORT", options.port)->required();
  }
  for (CLI::App* command : {server, connector, mailer})
    command->add_option("--threads", options.threads);
  for (CLI::App* command : {flooder, connector, mailer})
    command->add_option("--seconds", options.seconds);
  for (CLI::App* command : {pinger, mailer}) command->add_option("--count", options.count);
  mailer->add_option("--messages", options.messages)->required();
  pinger->add_option("--interval", options.interval);
  server->add_option("--greeting", options.greeting);
  mailer->add_option("--local", options.local);
  for (CLI::App* command : {flooder, mailer}) command->add_option("--rate", options.rate);
  redirector->add_option("INSIDE", options.interface)->required();
  redirector->add_option("OUTSIDE", options.other)->required();
  CLI11_PARSE(app, argc, argv);
  if (*server) return serve(options);
  if (*pinger) return ping(options);
  if (*connector) return connect_often(options);
  if (*mailer) return mail(options);
  if (*flooder) return flood(options);
  return redirect(options);
}

}  // namespace
}  // namespace sluice::perf

int main(int argc, char** argv) { return sluice::perf::run(argc, argv); }
