#include "control/cli/screens.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <ostream>

#include "control/cli/render_values.h"

namespace sluice::control {

using namespace render_values;

namespace {

double clock_seconds() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

// The terminal in a state in which single keys can be read, as long as this lives. Where there is
// no terminal nothing is done.
class Keys {
 public:
  Keys() : terminal_(::isatty(STDIN_FILENO) != 0 && ::isatty(STDOUT_FILENO) != 0) {
    if (!terminal_ || ::tcgetattr(STDIN_FILENO, &before_) != 0) {
      terminal_ = false;
      return;
    }
    termios raw = before_;
    raw.c_lflag &= static_cast<tcflag_t>(~(ICANON | ECHO | ISIG));
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    ::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  }
  ~Keys() {
    if (terminal_) ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  Keys(const Keys&) = delete;
  Keys& operator=(const Keys&) = delete;

  bool terminal() const { return terminal_; }
  // Waits for at most `seconds`, or until `fd` (may be -1) is readable. True: the user wants to
  // end.
  bool wait(double seconds, int fd = -1) const {
    pollfd watched[2] = {{terminal_ ? STDIN_FILENO : -1, POLLIN, 0}, {fd, POLLIN, 0}};
    const int got = ::poll(watched, 2, static_cast<int>(std::max(0.0, seconds) * 1000));
    if (got <= 0 || !terminal_ || watched[0].revents == 0) return false;
    char keys[64];
    const ssize_t n = ::read(STDIN_FILENO, keys, sizeof keys);
    if (n <= 0) return true;  // the terminal has gone
    constexpr char kInterrupt = 3;
    constexpr char kEnd = 4;
    return std::any_of(keys, keys + n,
                       [](char c) { return c == 'q' || c == 'Q' || c == kInterrupt || c == kEnd; });
  }

 private:
  bool terminal_;
  termios before_{};
};

std::size_t terminal_rows() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row >= 10) return size.ws_row;
  return 24;
}

// Numbers of a stats answer by name and label.
std::map<std::string, double> numbers(const json& answer) {
  std::map<std::string, double> all;
  const json& stats = member(answer, "stats");
  if (!stats.is_object()) return all;
  for (const auto& [name, value] : stats.items()) {
    if (value.is_number()) {
      all[name] = value.get<double>();
    } else if (value.is_object()) {
      for (const auto& [label, v] : value.items()) {
        if (v.is_number()) all[std::string(name).append("/").append(label)] = v.get<double>();
      }
    }
  }
  return all;
}

std::string rate_text(double per_second) {
  char text[32];
  if (per_second >= 1e6) {
    std::snprintf(text, sizeof text, "%.1fM", per_second / 1e6);
  } else if (per_second >= 1e4) {
    std::snprintf(text, sizeof text, "%.1fk", per_second / 1e3);
  } else {
    std::snprintf(text, sizeof text, per_second >= 100 ? "%.0f" : "%.1f", per_second);
  }
  return text;
}

double value_of(const std::map<std::string, double>& all, const std::string& name) {
  const auto found = all.find(name);
  return found == all.end() ? 0 : found->second;
}

std::string whole(double value) {
  return count_text(static_cast<std::uint64_t>(std::max(0.0, value)));
}

std::vector<std::string> split(std::string text, char at) {
  std::vector<std::string> parts;
  for (std::size_t end; (end = text.find(at)) != std::string::npos;) {
    parts.push_back(text.substr(0, end));
    text.erase(0, end + 1);
  }
  parts.push_back(std::move(text));
  return parts;
}

// A whole screen in place: each line cleared to its end, so that nothing flickers or is left over.
void draw(std::ostream& out, std::string_view title, const std::string& text, std::size_t width,
          std::size_t rows) {
  out << "\033[H\033[7m" << padded(title, width, false) << "\033[0m\033[K\r\n";
  std::size_t lines = 1;
  for (std::size_t begin = 0; begin < text.size() && lines + 1 < rows; ++lines) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    out << std::string_view(text).substr(begin, end - begin) << "\033[K\r\n";
    begin = end + 1;
  }
  out << "\033[J";
}

}  // namespace

std::string traffic_screen(const json& before, const json& now, double seconds, std::size_t width) {
  const auto old = numbers(before);
  const auto current = numbers(now);
  const auto rate = [&](const std::string& name) {
    const double change = value_of(current, name) - value_of(old, name);
    // A counter that went back belongs to another dataplane.
    return old.empty() || seconds <= 0 || change < 0 ? 0.0 : change / seconds;
  };
  // The kernel's decisions, by wire and side: labels are "WIRE/SIDE/KIND/DECISION", and of drops
  // "WIRE/SIDE/REASON".
  struct Row {
    double rates[2] = {};
  };
  std::map<std::string, std::map<std::string, Row>> wires;
  for (const auto& [name, value] : current) {
    const std::vector<std::string> parts = split(name, '/');
    if (parts.size() < 4) continue;
    std::string what;
    if (parts[0] == "sluice_kernel_frames_dropped_total") {
      what = "dropped: " + parts[3];
    } else if (parts[0] == "sluice_kernel_frames_total" && parts.size() >= 5) {
      what = parts[3] == "socket"                           ? "to the dataplane"
             : parts[3] == "total"                          ? "received"
             : parts[3] == "peer" && parts[4] == "not-mail" ? "not mail"
                                                            : parts[4];
    } else {
      continue;
    }
    wires[parts[1]][what].rates[parts[2] == "outside" ? 1 : 0] += rate(name);
  }
  std::string out;
  for (const auto& [wire, rows] : wires) {
    Table t(
        {{"WIRE " + wire + ", FRAMES A SECOND", false, true}, {"INSIDE", true}, {"OUTSIDE", true}});
    for (const auto& [what, row] : rows) {
      const bool always = what == "received" || what == "to the dataplane" || what == "not mail";
      if (!always && row.rates[0] + row.rates[1] == 0) continue;
      t.add({what, rate_text(row.rates[0]), rate_text(row.rates[1])});
    }
    out += t.text(width) + "\n";
  }
  if (wires.empty()) out += "no wire is in the kernel\n\n";
  Table d({{"DATAPLANE", false, true}, {"A SECOND", true}, {"TOTAL", true}});
  const std::pair<const char*, const char*> shown[] = {
      {"segments of mail flows", "sluice_segments_total"},
      {"octets in order", "sluice_stream_bytes_total"},
      {"flows opened", "sluice_flows_opened_total"},
      {"TLS sessions", "sluice_tls_sessions_total"},
      {"messages", "sluice_messages_total"},
      {"  accepted", "sluice_messages_accepted_total"},
      {"  refused", "sluice_messages_refused_total"},
      {"  condemned", "sluice_messages_condemned_total"},
      {"  stopped", "sluice_messages_blocked_total"},
      {"rule hits", "sluice_alerts_total"},
      {"events lost", "sluice_events_lost_total"}};
  for (const auto& [title, name] : shown) {
    d.add({title, rate_text(rate(name)), whole(value_of(current, name))});
  }
  return out + d.text(width) + whole(value_of(current, "sluice_flows_active")) + " flows live, " +
         whole(value_of(current, "sluice_hosts_acted_on")) + " hosts acted on, dataplane " +
         (value_of(current, "sluice_dataplane_connected") > 0 ? "connected" : "NOT CONNECTED") +
         "\n";
}

std::string hosts_screen(const json& before, const json& now, double seconds, std::size_t width,
                         std::size_t rows) {
  std::map<std::string, std::uint64_t> messages;
  for (const json& h : member(before, "hosts")) messages[text(h, "host")] = number(h, "messages");
  struct Row {
    double rate = 0;  // messages an hour
    const json* host = nullptr;
  };
  std::vector<Row> all;
  for (const json& h : member(now, "hosts")) {
    const auto old = messages.find(text(h, "host"));
    const std::uint64_t has = number(h, "messages");
    const bool grew = old != messages.end() && has > old->second && seconds > 0;
    all.push_back({grew ? static_cast<double>(has - old->second) / seconds * 3600 : 0, &h});
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const Row& a, const Row& b) { return a.rate > b.rate; });
  Table t({{"HOST", false, true},
           {"MSGS/H", true},
           {"MESSAGES", true},
           {"CONDEMNED", true},
           {"STANDING"},
           {"ACTION"},
           {"LEFT", true},
           {"LAST SEEN"}});
  for (std::size_t i = 0; i < std::min(rows, all.size()); ++i) {
    const json& h = *all[i].host;
    std::string standing = text(h, "standing");
    if (const std::string would = text(h, "would_have"); !would.empty()) {
      standing += " (" + would + ")";
    }
    t.add({text(h, "host"), whole(std::round(all[i].rate)), count(h, "messages"),
           count(h, "condemned"), standing, text(h, "action"), left(h),
           clock_text(h, "last_seen")});
  }
  return table_or(t, {.width = width}, "no host has sent mail yet") + "\n" + count(now, "known") +
         " hosts known, " + count(now, "acted_on") + " acted on by detection\n";
}

bool is_screen(const Command& command) {
  return command.words == "monitor traffic" || command.words == "monitor hosts";
}

int run_screen(const Command& command, const json& arguments, const RunOptions& options,
               std::ostream& out, std::ostream& errors) {
  const std::uint64_t most = arguments.value("count", UINT64_MAX);
  const auto every = static_cast<double>(arguments.value("every", std::uint64_t{1}));
  const bool traffic = command.words == "monitor traffic";
  auto client = ApiClient::connect(options.socket, 30);
  if (!client) {
    errors << "sluicectl: " << for_terminal(client.error()) << "\n";
    return kFailed;
  }
  json request = {{"command", command.request}, {"arguments", json::object()}};
  if (!traffic) request["arguments"]["limit"] = 500;
  const Keys keys;
  const auto ask = [&]() -> Result<json> {
    if (Status sent = client->send(request); !sent) return Error{sent.error()};
    auto answer = client->receive();
    if (!answer) return answer;
    if (answer->value("ok", false)) return answer->value("result", json::object());
    return Error{answer->value("error", std::string("no reason given"))};
  };
  if (keys.terminal()) out << "\033[?1049h\033[?25l" << std::flush;
  json before;
  double asked = 0;
  std::string failure;
  for (std::uint64_t screen = 0; screen < most; ++screen) {
    const double now = clock_seconds();
    auto result = ask();
    if (!result) {
      failure = result.error();
      break;
    }
    const double apart = screen == 0 ? 0 : now - asked;
    const std::size_t rows = keys.terminal() ? terminal_rows() : 55;
    if (options.as_json) {
      out << result->dump(-1, ' ', false, json::error_handler_t::replace) << "\n" << std::flush;
    } else {
      const std::string text = traffic
                                   ? traffic_screen(before, *result, apart, options.width)
                                   : hosts_screen(before, *result, apart, options.width, rows - 5);
      if (keys.terminal()) {
        draw(out, " sluice: " + std::string(command.words) + "   (q ends)", text, options.width,
             rows);
      } else {
        out << text << "\n";
      }
      out << std::flush;
    }
    if (!out) break;
    before = std::move(*result);
    asked = now;
    if (screen + 1 == most) break;
    bool ended = false;
    for (double wait; !ended && (wait = now + every - clock_seconds()) > 0;) {
      ended = keys.wait(wait);
    }
    if (ended) break;
  }
  if (keys.terminal()) out << "\033[?25h\033[?1049l" << std::flush;
  if (failure.empty()) return kDone;
  errors << "sluicectl: " << for_terminal(failure) << "\n";
  return kFailed;
}

int watch_events(ApiClient& client, const json& arguments, const RunOptions& options,
                 std::ostream& out, std::ostream& errors) {
  const std::uint64_t most = arguments.value("count", UINT64_MAX);
  const Keys keys;
  for (std::uint64_t seen = 0; seen < most;) {
    if (!client.buffered()) {
      if (keys.wait(1.0, client.fd())) return kDone;
      if (!client.readable()) continue;
    }
    const auto line = client.receive();
    if (!line) {
      errors << "sluicectl: " << for_terminal(line.error()) << "\n";
      return kFailed;
    }
    if (!line->contains("event")) continue;
    ++seen;
    const json& event = (*line)["event"];
    out << (options.as_json ? event.dump(-1, ' ', false, json::error_handler_t::replace)
                            : event_line(event))
        << "\n"
        << std::flush;       // each event is seen as it comes
    if (!out) return kDone;  // the reader has gone
  }
  return kDone;
}

}  // namespace sluice::control
