#include "control/cli/analyze.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <utility>

#include "control/cli/capture_file.h"
#include "control/cli/offline.h"
#include "control/events/eve.h"
#include "control/files/read_file.h"
#include "control/identity/prefix.h"
#include "dataplane/inspect/engine.h"

namespace sluice::control {
namespace {

struct Options {
  std::string capture;
  std::string message;
  std::vector<std::string> rules;
  std::string policy;
  std::vector<std::string> inside;
  std::string checksums = "on";
  std::string out;
  std::string events = "-";
  bool summary = false;
};

int fail(const std::string& text) {
  std::fprintf(stderr, "sluicectl analyze: %s\n", text.c_str());
  return 2;
}

bool same_file(const std::string& a, const std::string& b) {
  std::error_code code;
  return a == b || std::filesystem::equivalent(a, b, code);
}

// What is written must not be what is read, or written twice.
std::string clash(const Options& options) {
  const std::string& input = options.message.empty() ? options.capture : options.message;
  std::error_code code;
  for (const auto& [option, path] :
       {std::pair{"--events", options.events}, {"--out", options.out}}) {
    if (!path.empty() && path != "-" && same_file(path, input))
      return std::string(option) + " " + path + ": is the file that is read";
  }
  if (!options.out.empty() && same_file(options.out, options.events) &&
      !std::filesystem::is_character_file(options.out, code))
    return "--out " + options.out + ": is the file of the events";
  return {};
}

// Writes events as EVE JSON lines.
class EventFile final : public contract::EventSink {
 public:
  EventFile(std::FILE* file, EveContext context) : file_(file), context_(std::move(context)) {}
  bool write(Bytes record) override {
    if (!contract::EventReader::open(record)) return false;
    const std::string line = eve_json(record, context_);
    if (line.empty()) return true;
    return std::fwrite(line.data(), 1, line.size(), file_) == line.size() &&
           std::fputc('\n', file_) != EOF;
  }

 private:
  std::FILE* file_;
  EveContext context_;
};

// Puts the frames that leave the wire into a capture, ours in their place.
class CaptureOutput final : public inspect::Output {
 public:
  explicit CaptureOutput(CaptureWriter* writer) : writer_(writer) {}
  // A frame that is not looked at.
  void pass(std::uint64_t time, const CapturedFrame& frame) {
    ++forwarded;
    if (writer_) writer_->write(time, frame, frame.octets.size());
  }
  void at(std::uint64_t time, CapturedFrame* frame) {
    time_ = time;
    captured_ = frame;
  }
  void forward(inspect::Frame& frame, bool) override {
    ++forwarded;
    if (!writer_) return;
    // The engine sees the frame behind the link header; both lie in one buffer.
    writer_->write(time_, *captured_, captured_->prefix + frame.octets.size());
  }
  void drop(inspect::Frame&, contract::DropReason) override { ++dropped; }
  void inject(std::uint16_t, Side, Bytes octets) override {
    ++injected;
    if (writer_) writer_->write_own(time_, octets);
  }
  void mark_flow(const flow::FlowKey&, inspect::FlowMark) override {}

  std::uint64_t forwarded = 0;
  std::uint64_t dropped = 0;
  std::uint64_t injected = 0;

 private:
  CaptureWriter* writer_;
  CapturedFrame* captured_ = nullptr;
  std::uint64_t time_ = 0;
};

// The port on which a captured frame came in. A capture does not say; the inside prefixes do, and
// else the mail port: clients are inside.
Side side_of(const net::Packet& packet, const PolicySpec& spec) {
  for (const Prefix& prefix : spec.inside) {
    if (contains(prefix, packet.source)) return Side::inside;
    if (contains(prefix, packet.destination)) return Side::outside;
  }
  const auto is_mail = [&](std::uint16_t port) {
    return std::find(spec.mail_ports.begin(), spec.mail_ports.end(), port) != spec.mail_ports.end();
  };
  if (is_mail(packet.destination_port)) return Side::inside;
  if (is_mail(packet.source_port)) return Side::outside;
  return packet.source_port >= packet.destination_port ? Side::inside : Side::outside;
}

Result<OfflinePolicy> prepare(const Options& options) {
  OfflineOptions offline;
  offline.policy = options.policy;
  offline.rules.assign(options.rules.begin(), options.rules.end());
  offline.inside = options.inside;
  auto prepared = open_offline_policy(offline);
  if (prepared) print_faults(*prepared, std::cerr);
  return prepared;
}

inspect::Settings settings_of(const OfflinePolicy& prepared, const Options& options) {
  inspect::Settings settings;
  settings.wires = {prepared.wire()};
  settings.verify_checksums = options.checksums == "on";
  settings.verify_sides = false;  // a capture does not say them
  settings.all_ports = true;
  return settings;
}

EveContext context_of(const OfflinePolicy& prepared) {
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  return {.host = host, .wires = {{prepared.wire(), "", ""}}};
}

void print_summary(const contract::WorkerStatistics& statistics, const CaptureOutput& output,
                   std::uint64_t frames) {
  std::fprintf(stderr, "frames read            %12llu\nframes forwarded       %12llu\n",
               static_cast<unsigned long long>(frames),
               static_cast<unsigned long long>(output.forwarded));
  std::fprintf(stderr, "frames dropped         %12llu\nframes injected        %12llu\n",
               static_cast<unsigned long long>(output.dropped),
               static_cast<unsigned long long>(output.injected));
  using contract::Counter;
  for (const Counter c :
       {Counter::flows_opened, Counter::stream_bytes, Counter::messages, Counter::messages_accepted,
        Counter::messages_refused, Counter::messages_aborted, Counter::messages_condemned,
        Counter::messages_blocked, Counter::message_bytes, Counter::tls_sessions,
        Counter::alerts}) {
    std::string name(contract::kCounters[static_cast<std::size_t>(c)].name);
    for (char& letter : name)
      if (letter == '_') letter = ' ';
    std::fprintf(stderr, "%-22s %12llu\n", name.c_str(),
                 static_cast<unsigned long long>(statistics.read(c)));
  }
  for (std::size_t i = 0; i < contract::kAnomalyCount; ++i) {
    const std::uint64_t n = statistics.anomalies[i].read();
    if (n)
      std::fprintf(stderr, "anomaly %-14s %12llu\n",
                   std::string(contract::kAnomalies[i].name).c_str(),
                   static_cast<unsigned long long>(n));
  }
}

int analyze_capture(const Options& options, const OfflinePolicy& prepared, std::FILE* events) {
  auto reader = CaptureReader::open(options.capture);
  if (!reader) return fail(reader.error());
  std::unique_ptr<CaptureWriter> writer;
  if (!options.out.empty()) {
    auto opened = CaptureWriter::open(options.out, (*reader)->link_codes());
    if (!opened) return fail("--out " + opened.error());
    writer = std::move(*opened);
  }
  EventFile event_file(events, context_of(prepared));
  CaptureOutput output(writer.get());
  auto statistics = std::make_unique<contract::WorkerStatistics>();
  inspect::Settings settings = settings_of(prepared, options);
  settings.link = (*reader)->link();
  inspect::Engine engine(settings, *statistics, event_file, output,
                         std::pmr::new_delete_resource());
  if (Status set = engine.set_policy(*prepared.policy); !set) return fail(set.error());

  std::uint64_t frames = 0;
  std::uint64_t cut = 0;
  std::uint64_t unread = 0;
  inspect::Time now;
  const net::ParseOptions parse_options{.verify_checksums = false, .link = settings.link};
  while (auto captured = (*reader)->next()) {
    ++frames;
    cut += captured->cut;
    // Captures of several ports are not always in order: time never goes back.
    const std::uint64_t time = std::max(captured->time, now.wall);
    while (engine.next_timer() < time && now.wall < time) {
      const std::uint64_t due = std::max(engine.next_timer(), now.wall);
      now = {.monotonic = due, .wall = due};
      output.at(due, nullptr);
      const Nanoseconds before = engine.next_timer();
      engine.tick(now);
      if (engine.next_timer() <= before) break;
    }
    now = {.monotonic = time, .wall = time};
    if (!captured->readable) {
      ++unread;
      output.pass(time, *captured);
      continue;
    }
    const MutableBytes octets = MutableBytes(captured->octets).subspan(captured->prefix);
    inspect::Frame frame{.octets = octets,
                         .side = side_of(net::parse(octets, parse_options), prepared.spec),
                         .number = frames,
                         .cut = captured->cut};
    output.at(time, &*captured);
    engine.process({&frame, 1}, now);
  }
  output.at(now.wall, nullptr);
  engine.finish(now);

  if (options.summary) print_summary(*statistics, output, frames);
  const std::uint64_t bad = statistics->read(contract::Anomaly::bad_tcp_checksum);
  if (bad)
    std::fprintf(stderr,
                 "%s: flows with wrong TCP checksums: %llu; their segments are not part of the "
                 "streams (a capture taken before checksum offload is read with --checksums off)\n",
                 options.capture.c_str(), static_cast<unsigned long long>(bad));
  if (unread)
    std::fprintf(stderr, "%s: %llu frames are of link types that are not read\n",
                 options.capture.c_str(), static_cast<unsigned long long>(unread));
  if (cut)
    std::fprintf(stderr, "%s: %llu frames were captured only in part\n", options.capture.c_str(),
                 static_cast<unsigned long long>(cut));
  if (writer) {
    const Status closed = writer->close();
    if (!closed) return fail("--out " + closed.error());
  }
  if ((*reader)->truncated()) {
    std::fprintf(stderr, "sluicectl analyze: %s (after frame %llu)\n", (*reader)->fault().c_str(),
                 static_cast<unsigned long long>(frames));
    return 3;
  }
  return 0;
}

int analyze_message(const Options& options, const OfflinePolicy& prepared, std::FILE* events) {
  const auto octets = read_file(options.message);
  if (!octets) return fail(octets.error());
  EventFile event_file(events, context_of(prepared));
  CaptureOutput output(nullptr);
  auto statistics = std::make_unique<contract::WorkerStatistics>();
  inspect::Engine engine(settings_of(prepared, options), *statistics, event_file, output,
                         std::pmr::new_delete_resource());
  if (Status set = engine.set_policy(*prepared.policy); !set) return fail(set.error());
  const auto wall = static_cast<std::uint64_t>(::time(nullptr)) * kSecond;
  engine.inspect_message(as_bytes(*octets), {.monotonic = wall, .wall = wall});
  if (options.summary) print_summary(*statistics, output, 0);
  return 0;
}

}  // namespace

int analyze_main(int argc, char** argv) {
  Options options;
  CLI::App app("Runs the inspection and policy code of the wire on a capture or a message.",
               "sluicectl analyze");
  auto* capture = app.add_option("CAPTURE", options.capture, "pcap or pcapng file, - for stdin");
  auto* message = app.add_option("--message", options.message, "one RFC 5322 message");
  message->excludes(capture);
  app.add_option("--rules", options.rules, "rule file or folder of rule files; repeatable")
      ->allow_extra_args(false);
  app.add_option("--policy", options.policy, "configuration (JSON of the YANG model)");
  app.add_option("--inside", options.inside, "prefix of inside hosts; repeatable")
      ->allow_extra_args(false);
  app.add_option("--checksums", options.checksums, "off for captures taken before offload")
      ->check(CLI::IsMember({"on", "off"}));
  app.add_option("--out", options.out, "capture of the frames that would have left the wire");
  app.add_option("--events", options.events, "file for the events, - for stdout");
  app.add_flag("--summary", options.summary, "counts on stderr");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  if (options.capture.empty() == options.message.empty())
    return fail("give one CAPTURE, or --message FILE (see --help)");

  if (const std::string fault = clash(options); !fault.empty()) return fail(fault);
  const auto prepared = prepare(options);
  if (!prepared) return fail(prepared.error());
  std::FILE* events = options.events == "-" ? stdout : std::fopen(options.events.c_str(), "we");
  if (!events) return fail("--events " + options.events + ": " + std::strerror(errno));
  int status = options.message.empty() ? analyze_capture(options, *prepared, events)
                                       : analyze_message(options, *prepared, events);
  const bool written = std::fflush(events) == 0 && !std::ferror(events);
  if (events != stdout) std::fclose(events);
  if (!written && status != 2) status = fail("events could not be written whole");
  return status;
}

}  // namespace sluice::control
