#include "control/api/http_server.h"

#include <arpa/inet.h>
#include <httplib.h>
#include <net/if.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>

#include "control/api/operations.h"
#include "control/api/restconf.h"

namespace sluice::control {
namespace {

using nlohmann::json;
using restconf::Fault;

constexpr const char* kData = "application/yang-data+json";
constexpr std::size_t kMaxBody = std::size_t{16} << 20;
constexpr std::size_t kMaxQueued = std::size_t{4} << 20;  // octets of events for one listener
constexpr std::size_t kMaxListeners = 16;
constexpr std::size_t kThreads = 8;
constexpr int kAnswerSeconds = 620;

std::string sha256_text(const std::string& octets) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(octets.data()), octets.size(), digest);
  std::string out;
  char hex[3];
  for (const unsigned char o : digest) {
    std::snprintf(hex, sizeof hex, "%02x", o);
    out += hex;
  }
  return out;
}

std::string dump(const json& j) {
  return j.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

// IMF-fixdate (RFC 9110 section 5.6.7).
std::string http_date(std::time_t seconds) {
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[64];
  std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return text;
}
std::optional<std::time_t> parse_date(const std::string& text) {
  std::tm parts{};
  const char* end = strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  if (end == nullptr || *end != 0) return std::nullopt;
  return timegm(&parts);
}

// RFC 3339 to seconds since the Unix epoch; what cannot be read has passed.
std::time_t expiry(const std::string& text) {
  std::tm parts{};
  const char* rest = strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (rest == nullptr) return 0;
  if (*rest == '.') {
    ++rest;
    while (*rest >= '0' && *rest <= '9') ++rest;
  }
  std::time_t offset = 0;
  if (*rest == '+' || *rest == '-') {
    int hours = 0;
    int minutes = 0;
    if (std::sscanf(rest + 1, "%2d:%2d", &hours, &minutes) != 2) return 0;
    offset = (*rest == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
  } else if (*rest != 'Z' && *rest != 'z') {
    return 0;
  }
  return timegm(&parts) - offset;
}

Access access_of_token(AccessRole role) {
  return static_cast<Access>(static_cast<std::uint8_t>(role) + 1);
}

// Whether a condition's list of entity tags holds ours.
bool holds_tag(const std::string& list, const std::string& tag) {
  if (list == "*") return true;
  for (std::size_t begin = 0; begin < list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    std::string one = list.substr(begin, end - begin);
    one.erase(0, one.find_first_not_of(' '));
    one.erase(one.find_last_not_of(' ') + 1);
    if (one.starts_with("W/")) one.erase(0, 2);
    if (one == "\"" + tag + "\"" || one == tag) return true;
    begin = end + 1;
  }
  return false;
}

struct Stream {
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<std::string> lines;
  std::size_t octets = 0;
  std::uint64_t lost = 0;
  bool closed = false;
  bool greeted = false;  // a first comment was sent: the client knows that it is heard
  std::string type;  // wanted event_type; empty: all
};

}  // namespace

struct HttpServer::Impl {
  Impl(HttpConfig c, std::string v, Ask a)
      : version(std::move(v)),
        ask_loop(std::move(a)),
        config(std::make_shared<const HttpConfig>(std::move(c))) {}

  // ---- asking the loop ----

  json ask(const Peer& peer, const std::string& command, json arguments) {
    auto answer = std::make_shared<std::promise<json>>();
    std::future<json> got = answer->get_future();
    ask_loop(peer, {{"command", command}, {"arguments", std::move(arguments)}},
             [answer](json a) { answer->set_value(std::move(a)); });
    for (int second = 0; second < kAnswerSeconds; ++second) {
      if (got.wait_for(std::chrono::seconds(1)) == std::future_status::ready) return got.get();
      if (stopping) break;
    }
    return {{"ok", false}, {"error", "no answer in time"}};
  }

  // ---- who, and how often ----

  // Takes `cost` from the client's minute; false: it is used up.
  bool within_rate(const std::string& address, double cost) {
    const std::lock_guard lock(rate_mutex);
    const double most = current()->rate;
    const auto now = std::chrono::steady_clock::now();
    if (budgets.size() > 10'000) {
      std::erase_if(budgets, [&](const auto& b) {
        return now - b.second.at > std::chrono::minutes(1);
      });
      // Still full: somebody uses many addresses; new ones then share one budget.
      if (budgets.size() > 10'000 && !budgets.contains(address)) return within_locked("", cost, most, now);
    }
    return within_locked(address, cost, most, now);
  }
  struct Budget {
    double left = 0;
    std::chrono::steady_clock::time_point at{};
  };
  bool within_locked(const std::string& address, double cost, double most,
                     std::chrono::steady_clock::time_point now) {
    const auto [found, added] = budgets.try_emplace(address, Budget{most, now});
    Budget& b = found->second;
    const double seconds = std::chrono::duration<double>(now - b.at).count();
    b.left = std::min(most, b.left + seconds * most / 60);
    b.at = now;
    if (b.left < cost) return false;
    b.left -= cost;
    return true;
  }

  std::optional<Peer> who(const httplib::Request& request) const {
    const std::string header = request.get_header_value("Authorization");
    constexpr std::string_view kBearer = "Bearer ";
    if (!header.starts_with(kBearer)) return std::nullopt;
    const std::string digest = sha256_text(header.substr(kBearer.size()));
    const auto c = current();
    std::optional<Peer> found;
    for (const HttpToken& t : c->tokens) {
      if (t.sha256.size() != digest.size() ||
          CRYPTO_memcmp(t.sha256.data(), digest.data(), digest.size()) != 0) {
        continue;
      }
      if (!t.expires.empty() && std::time(nullptr) >= expiry(t.expires)) continue;
      Peer peer;
      peer.uid = static_cast<uid_t>(-1);
      peer.gid = static_cast<gid_t>(-1);
      peer.user = t.name;
      peer.access = access_of_token(t.role);
      peer.origin = "https " + request.remote_addr;
      found = std::move(peer);
    }
    return found;
  }

  std::shared_ptr<const HttpConfig> current() const {
    const std::lock_guard lock(config_mutex);
    return config;
  }

  // ---- answers ----

  static void put(httplib::Response& response, int status, const json& body,
                  const char* type = kData) {
    response.status = status;
    response.set_content(dump(body), type);
  }
  static void put(httplib::Response& response, const Fault& fault) {
    put(response, fault.status, restconf::errors_json(fault));
  }
  // What the socket's protocol says went wrong, as HTTP.
  static Fault fault_of(const json& answer) {
    const std::string error = answer.value("error", std::string("no reason given"));
    if (error.starts_with("refused: ")) {
      return {403, "protocol", "access-denied", error, {}};
    }
    if (error.starts_with("no answer in time")) {
      return {500, "application", "operation-failed", error, {}};
    }
    return {400, "application", "invalid-value", error, {}};
  }

  // ---- the configuration ----

  struct Running {
    json whole;
    std::string text_digest;
    std::time_t changed = 0;
    Fault fault;
  };
  Running running(const Peer& peer, bool defaults) {
    Running r;
    const json answer = ask(peer, "show config", {{"defaults", defaults}, {"revision", true}});
    if (!answer.value("ok", false)) {
      r.fault = fault_of(answer);
      return r;
    }
    const json result = answer.value("result", json::object());
    r.whole = result.value("config", json::object());
    r.text_digest = result.value("sha256", std::string{}).substr(0, 32);
    r.changed = static_cast<std::time_t>(result.value("changed", std::uint64_t{0}));
    return r;
  }

  // Conditions of RFC 9110 section 13 that RFC 8040 section 3.4.1 wants.
  static bool conditions(const httplib::Request& request, httplib::Response& response,
                         const Running& r, bool reading) {
    response.set_header("ETag", "\"" + r.text_digest + "\"");
    response.set_header("Last-Modified", http_date(r.changed));
    const auto refuse = [&](const char* what) {
      put(response, Fault{412, "protocol", "operation-failed", what, {}});
      return false;
    };
    if (request.has_header("If-Match")) {
      if (!holds_tag(request.get_header_value("If-Match"), r.text_digest)) {
        return refuse("the configuration has changed: If-Match does not hold");
      }
    } else if (request.has_header("If-Unmodified-Since")) {
      const auto since = parse_date(request.get_header_value("If-Unmodified-Since"));
      if (since && r.changed > *since) {
        return refuse("the configuration has changed: If-Unmodified-Since does not hold");
      }
    }
    if (request.has_header("If-None-Match")) {
      if (holds_tag(request.get_header_value("If-None-Match"), r.text_digest)) {
        if (!reading) return refuse("If-None-Match does not hold");
        response.status = 304;
        return false;
      }
    } else if (reading && request.has_header("If-Modified-Since")) {
      const auto since = parse_date(request.get_header_value("If-Modified-Since"));
      if (since && r.changed <= *since) {
        response.status = 304;
        return false;
      }
    }
    return true;
  }

  // Each parameter once, and none that is not claimed (section 4.8).
  static Fault check_parameters(const httplib::Request& request,
                                std::initializer_list<const char*> allowed) {
    for (const auto& [name, value] : request.params) {
      const bool known = std::any_of(allowed.begin(), allowed.end(),
                                     [&n = name](const char* a) { return n == a; });
      if (!known) {
        return {400, "protocol", "invalid-value", "the query parameter '" + name +
                "' is not supported here", {}};
      }
      if (request.params.count(name) > 1) {
        return {400, "protocol", "invalid-value", "'" + name + "' stands twice", {}};
      }
    }
    return {};
  }

  // Reading a resource of any kind: depth and fields, then the answer.
  static void put_resource(const httplib::Request& request, httplib::Response& response,
                           json resource) {
    if (request.has_param("fields")) {
      if (Fault f = restconf::select_fields(request.get_param_value("fields"), resource); f) {
        return put(response, f);
      }
    }
    if (request.has_param("depth")) {
      const std::string depth = request.get_param_value("depth");
      if (depth != "unbounded") {
        const bool digits = !depth.empty() && depth.size() <= 5 &&
                            depth.find_first_not_of("0123456789") == std::string::npos;
        const int value = digits ? std::stoi(depth) : 0;
        if (value < 1 || value > 65535) {
          return put(response, Fault{400, "protocol", "invalid-value",
                                     "depth is 1..65535 or unbounded", {}});
        }
        resource = restconf::limit_depth(resource, static_cast<unsigned>(value));
      }
    }
    put(response, 200, resource);
  }

  void get_data(const Peer& peer, const httplib::Request& request, httplib::Response& response,
                const std::vector<restconf::Step>& path) {
    if (Fault f = check_parameters(request, {"content", "depth", "fields", "with-defaults"}); f) {
      return put(response, f);
    }
    const std::string content =
        request.has_param("content") ? request.get_param_value("content") : "all";
    if (content != "all" && content != "config" && content != "nonconfig") {
      return put(response, Fault{400, "protocol", "invalid-value",
                                 "content is config, nonconfig or all", {}});
    }
    bool defaults = false;
    if (request.has_param("with-defaults")) {
      const std::string mode = request.get_param_value("with-defaults");
      if (mode != "report-all" && mode != "explicit") {
        return put(response, Fault{400, "protocol", "invalid-value",
                                   "with-defaults is report-all or explicit", {}});
      }
      defaults = mode == "report-all";
    }
    if (!path.empty() && path.front().module == kOperationsModule) {
      return get_state(peer, request, response, path, content);
    }
    if (!path.empty() && path.front().module.starts_with("ietf-")) {
      return get_standard(request, response, path, content);
    }
    restconf::Target target;
    if (Fault f = restconf::resolve(*model, path, target); f) return put(response, f);
    Running r = running(peer, defaults);
    if (r.fault) return put(response, r.fault);
    if (!conditions(request, response, r, true)) return;
    json resource;
    if (content == "nonconfig") {
      if (!target.steps.empty()) {
        return put(response, Fault{404, "application", "invalid-value",
                                   "it holds configuration only", {}});
      }
      r.whole = json::object();
    }
    if (Fault f = restconf::get(r.whole, target, resource); f) return put(response, f);
    if (target.steps.empty() && content != "config") {
      json& data = resource["ietf-restconf:data"];
      for (const StateView& v : state_views()) {
        const json answer = ask(peer, std::string(v.request), json::object());
        if (answer.value("ok", false)) {
          data[std::string(kOperationsModule) + ":state"][std::string(v.name)] = answer["result"];
        }
      }
      data.update(library());
      data.update(monitoring());
    }
    put_resource(request, response, std::move(resource));
  }

  void get_state(const Peer& peer, const httplib::Request& request, httplib::Response& response,
                 const std::vector<restconf::Step>& path, const std::string& content) {
    const Fault missing{404, "application", "invalid-value", "there is no such resource", {}};
    if (path.front().name != "state" || path.size() > 2 || content == "config") {
      return put(response, missing);
    }
    json state = json::object();
    for (const StateView& v : state_views()) {
      if (path.size() == 2 && path[1].name != v.name) continue;
      const json answer = ask(peer, std::string(v.request), json::object());
      if (answer.value("ok", false)) {
        state[std::string(v.name)] = answer["result"];
      } else if (path.size() == 2) {
        return put(response, fault_of(answer));
      }
    }
    if (state.empty()) return put(response, missing);
    const std::string module = std::string(kOperationsModule) + ":";
    if (path.size() == 1) return put_resource(request, response, {{module + "state", state}});
    put_resource(request, response, {{module + path[1].name, state.begin().value()}});
  }

  // ietf-yang-library (RFC 8525) and ietf-restconf-monitoring (RFC 8040 section 9).
  static void get_standard(const httplib::Request& request, httplib::Response& response,
                           const std::vector<restconf::Step>& path, const std::string& content) {
    const Fault missing{404, "application", "invalid-value", "there is no such resource", {}};
    if (content == "config") return put(response, missing);
    json all = library();
    all.update(monitoring());
    const std::string first = path.front().module + ":" + path.front().name;
    if (!all.contains(first)) return put(response, missing);
    const json* at = &all[first];
    for (std::size_t i = 1; i < path.size(); ++i) {
      if (!path[i].keys.empty() || !at->is_object() || !at->contains(path[i].name)) {
        return put(response, missing);
      }
      at = &(*at)[path[i].name];
    }
    put_resource(request, response, {{path.front().module + ":" + path.back().name, *at}});
  }

  static json library() {
    const auto module = [](std::string_view name, std::string_view revision, std::string_view space) {
      return json{{"name", name},
                  {"revision", revision},
                  {"namespace", space},
                  {"location", {"/yang/" + std::string(name) + ".yang"}}};
    };
    json modules = json::array({module("sluice", "2026-11-26", "urn:sluice:configuration"),
                                module(kOperationsModule, kOperationsRevision, kOperationsNamespace)});
    json imports = json::array(
        {{{"name", "ietf-inet-types"}, {"revision", "2013-07-15"},
          {"namespace", "urn:ietf:params:xml:ns:yang:ietf-inet-types"}},
         {{"name", "ietf-yang-types"}, {"revision", "2013-07-15"},
          {"namespace", "urn:ietf:params:xml:ns:yang:ietf-yang-types"}}});
    const std::string id = sha256_text(std::string(model_source()) + operations_yang()).substr(0, 32);
    return {{"ietf-yang-library:yang-library",
             {{"module-set",
               {{{"name", "all"}, {"module", modules}, {"import-only-module", imports}}}},
              {"schema", {{{"name", "all"}, {"module-set", {"all"}}}}},
              {"datastore", {{{"name", "ietf-datastores:running"}, {"schema", "all"}}}},
              {"content-id", id}}}};
  }
  static json monitoring() {
    json capabilities = json::array();
    for (const char* c : {"defaults:1.0?basic-mode=explicit", "with-defaults:1.0", "depth:1.0",
                          "fields:1.0"}) {
      capabilities.push_back("urn:ietf:params:restconf:capability:" + std::string(c));
    }
    return {{"ietf-restconf-monitoring:restconf-state",
             {{"capabilities", {{"capability", capabilities}}},
              {"streams",
               {{"stream",
                 {{{"name", "events"},
                   {"description", "Events as they come, EVE JSON"},
                   {"replay-support", false},
                   {"access",
                    {{{"encoding", "json"}, {"location", "/streams/events"}}}}}}}}}}}};
  }

  void edit_data(const Peer& peer, const httplib::Request& request, httplib::Response& response,
                 const std::vector<restconf::Step>& path, restconf::Method method) {
    if (Fault f = check_parameters(request, {}); f) return put(response, f);
    if (!path.empty() && path.front().module != "sluice") {
      return put(response, Fault{405, "protocol", "operation-not-supported",
                                 "it cannot be changed", {}});
    }
    if (peer.access < Access::admin) {
      return put(response, Fault{403, "protocol", "access-denied",
                                 "a change of the configuration needs the role admin; " + peer.user +
                                     " is " +
                                     std::string(kAccessNames[static_cast<std::size_t>(peer.access)]),
                                 {}});
    }
    json body;
    if (method != restconf::Method::remove) {
      const std::string type = request.get_header_value("Content-Type");
      if (!type.starts_with(kData) && !type.starts_with("application/json")) {
        return put(response, Fault{415, "protocol", "malformed-message",
                                   "the body is to be " + std::string(kData), {}});
      }
      body = json::parse(request.body, nullptr, false);
      if (body.is_discarded()) {
        return put(response, Fault{400, "protocol", "malformed-message", "the body is no JSON", {}});
      }
    }
    restconf::Target target;
    if (Fault f = restconf::resolve(*model, path, target); f) return put(response, f);
    // One change of ours at a time; that nobody else came between is seen by the digest.
    const std::lock_guard one(edit_mutex);
    for (int attempt = 0; attempt < 5; ++attempt) {
      Running r = running(peer, false);
      if (r.fault) return put(response, r.fault);
      if (!conditions(request, response, r, false)) return;
      restconf::Edited edited;
      if (Fault f = restconf::edit(*model, r.whole, target, method, body, edited); f) {
        return put(response, f);
      }
      const json answer =
          ask(peer, "config load",
              {{"text", edited.whole.dump()},
               {"name", "request"},
               {"expect", r.text_digest},
               {"comment", "RESTCONF " + request.method + " " + request.path}});
      if (!answer.value("ok", false)) {
        const std::string error = answer.value("error", std::string{});
        if (error.starts_with("changed meanwhile")) {
          std::this_thread::sleep_for(std::chrono::milliseconds(50));
          continue;
        }
        Fault f = fault_of(answer);
        // libyang's words: what is wrong where.
        if (f.status == 400 && error.find("/sluice:sluice") != std::string::npos) {
          const std::size_t begin = error.find("/sluice:sluice");
          f.path = error.substr(begin, error.find(": ", begin) - begin);
        }
        return put(response, f);
      }
      const Running now = running(peer, false);
      response.headers.erase("ETag");
      response.headers.erase("Last-Modified");
      response.set_header("ETag", "\"" + now.text_digest + "\"");
      response.set_header("Last-Modified", http_date(now.changed));
      response.status = edited.created ? 201 : 204;
      if (!edited.location.empty()) {
        response.set_header("Location", "/restconf/data" + edited.location);
      }
      return;
    }
    put(response, Fault{409, "application", "in-use", "the configuration is being changed by others",
                        {}});
  }

  // ---- operations ----

  void operation(const Peer& peer, const httplib::Request& request, httplib::Response& response,
                 const std::string& name) {
    if (Fault f = check_parameters(request, {}); f) return put(response, f);
    const std::string prefix = std::string(kOperationsModule) + ":";
    const Operation* o = name.starts_with(prefix) ? find_operation(name.substr(prefix.size())) : nullptr;
    if (o == nullptr) {
      return put(response, Fault{404, "application", "invalid-value", "'" + name.substr(0, 80) +
                                 "': no such operation", {}});
    }
    json arguments = json::object();
    if (!request.body.empty()) {
      const json body = json::parse(request.body, nullptr, false);
      const std::string input = prefix + "input";
      if (!body.is_object() || body.size() != 1 || !body.contains(input) ||
          !body[input].is_object()) {
        return put(response, Fault{400, "protocol", "malformed-message",
                                   "the body is to be {\"" + input + "\": {...}}", {}});
      }
      for (const auto& [raw, value] : body[input].items()) {
        const std::string leaf = raw.starts_with(prefix) ? raw.substr(prefix.size()) : raw;
        const auto known = std::find_if(o->inputs.begin(), o->inputs.end(),
                                        [&](const OperationInput& i) { return i.name == leaf; });
        if (known == o->inputs.end()) {
          return put(response, Fault{400, "application", "unknown-element", "'" + leaf +
                                     "' is no input of " + std::string(o->name), {}});
        }
        json taken = value;
        // A 64-bit number is a string in JSON (RFC 7951 section 6.1); a plain number is taken too.
        if (known->type == "uint64" && value.is_string()) {
          const std::string digits = value.get<std::string>();
          if (digits.empty() || digits.size() > 19 ||
              digits.find_first_not_of("0123456789") != std::string::npos) {
            return put(response, Fault{400, "application", "invalid-value", "'" + leaf +
                                       "' is no number", {}});
          }
          taken = std::stoull(digits);
        }
        const bool fits = known->type == "uint64"    ? taken.is_number_unsigned()
                          : known->type == "boolean" ? taken.is_boolean()
                                                     : taken.is_string();
        if (!fits) {
          return put(response, Fault{400, "application", "invalid-value", "'" + leaf + "' is to be " +
                                     std::string(known->type), {}});
        }
        arguments[std::string(known->key)] = std::move(taken);
      }
    }
    for (const OperationInput& i : o->inputs) {
      if (i.mandatory && !arguments.contains(std::string(i.key))) {
        return put(response, Fault{400, "application", "missing-element", "'" + std::string(i.name) +
                                   "' is missing: " + std::string(i.help), {}});
      }
    }
    const json answer = ask(peer, std::string(o->request), std::move(arguments));
    if (!answer.value("ok", false)) return put(response, fault_of(answer));
    put(response, 200, {{prefix + "output", {{"result", answer.value("result", json::object())}}}});
  }

  // ---- events ----

  void events(const Peer& peer, const httplib::Request& request, httplib::Response& response) {
    if (peer.access < Access::viewer) {
      return put(response, Fault{403, "protocol", "access-denied", "needs the role viewer", {}});
    }
    if (Fault f = check_parameters(request, {"type"}); f) return put(response, f);
    auto stream = std::make_shared<Stream>();
    stream->type = request.has_param("type") ? request.get_param_value("type") : "";
    {
      const std::lock_guard lock(streams_mutex);
      std::erase_if(streams, [](const auto& s) {
        const std::lock_guard hold(s->mutex);
        return s->closed;
      });
      if (streams.size() >= kMaxListeners) {
        return put(response, Fault{503, "application", "resource-denied",
                                   "as many listen already as may", {}});
      }
      streams.push_back(stream);
    }
    response.set_header("Cache-Control", "no-cache");
    response.set_chunked_content_provider(
        "text/event-stream",
        [this, stream](std::size_t, httplib::DataSink& sink) {
          std::string out;
          {
            std::unique_lock lock(stream->mutex);
            if (!stream->greeted) {
              stream->greeted = true;
              return sink.write(": open\n\n", 8);
            }
            stream->wake.wait_for(lock, std::chrono::seconds(5), [&] {
              return stream->closed || !stream->lines.empty();
            });
            if (stream->closed || stopping) {
              sink.done();
              return false;
            }
            if (stream->lost > 0) {
              out += ": " + std::to_string(std::exchange(stream->lost, 0)) + " events lost\n\n";
            }
            // A comment now and then: a client that went is found out.
            if (stream->lines.empty()) out += ": alive\n\n";
            while (!stream->lines.empty() && out.size() < 65536) {
              out += "data: " + stream->lines.front() + "\n\n";
              stream->octets -= stream->lines.front().size();
              stream->lines.pop_front();
            }
          }
          return sink.write(out.data(), out.size());
        },
        [stream](bool) {
          const std::lock_guard lock(stream->mutex);
          stream->closed = true;
        });
  }

  // ---- routes ----

  void handle(const httplib::Request& request, httplib::Response& response) {
    response.set_header("Cache-Control", "no-cache");
    response.set_header("X-Content-Type-Options", "nosniff");
    if (!within_rate(request.remote_addr, 1)) {
      response.set_header("Retry-After", "10");
      return put(response, Fault{429, "protocol", "resource-denied", "too many requests", {}});
    }
    if (request.path == "/.well-known/host-meta") {
      response.set_content("<XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'>\n"
                           "  <Link rel='restconf' href='/restconf'/>\n</XRD>\n",
                           "application/xrd+xml");
      return;
    }
    const auto peer = who(request);
    if (!peer) {
      // Guessing is to be slow.
      static_cast<void>(within_rate(request.remote_addr, 9));
      response.set_header("WWW-Authenticate", "Bearer realm=\"sluice\"");
      return put(response, Fault{401, "protocol", "access-denied", "a token is needed", {}});
    }
    const std::string accept = request.get_header_value("Accept");
    const std::string& method = request.method;
    const bool reading = method == "GET" || method == "HEAD";
    // The raw target: a key may hold an encoded slash.
    std::string path = request.target.substr(0, request.target.find('?'));
    const auto allow = [&](const char* methods) {
      response.set_header("Allow", methods);
      if (method == "OPTIONS") {
        response.status = 204;
        return;
      }
      put(response, Fault{405, "protocol", "operation-not-supported",
                          method + " is not for this resource", {}});
    };
    if (path.starts_with("/restconf") && !accept.empty() && accept.find(kData) == std::string::npos &&
        accept.find("application/json") == std::string::npos &&
        accept.find("application/*") == std::string::npos &&
        accept.find("*/*") == std::string::npos) {
      return put(response, Fault{406, "protocol", "invalid-value",
                                 "answers are " + std::string(kData), {}});
    }
    if (path == "/restconf" || path == "/restconf/") {
      if (!reading) return allow("GET, HEAD, OPTIONS");
      json names = json::object();
      for (const Operation& o : operations()) {
        names[std::string(kOperationsModule) + ":" + std::string(o.name)] = json::array({nullptr});
      }
      return put_resource(request, response,
                          {{"ietf-restconf:restconf",
                            {{"data", json::object()},
                             {"operations", names},
                             {"yang-library-version", "2019-01-04"}}}});
    }
    if (path == "/restconf/yang-library-version") {
      if (!reading) return allow("GET, HEAD, OPTIONS");
      return put(response, 200, {{"ietf-restconf:yang-library-version", "2019-01-04"}});
    }
    if (path == "/restconf/operations" || path.starts_with("/restconf/operations/")) {
      std::string name = path.size() > 21 ? restconf::percent_decoded(path.substr(21)) : "";
      if (name.empty()) {
        if (!reading) return allow("GET, HEAD, OPTIONS");
        json names = json::object();
        for (const Operation& o : operations()) {
          names[std::string(kOperationsModule) + ":" + std::string(o.name)] =
              json::array({nullptr});
        }
        return put(response, 200, {{"ietf-restconf:operations", names}});
      }
      if (method != "POST") return allow("POST, OPTIONS");
      return operation(*peer, request, response, name);
    }
    if (path == "/restconf/data" || path.starts_with("/restconf/data/")) {
      const auto steps = restconf::parse_path(path.substr(14));
      if (!steps) {
        return put(response, Fault{400, "protocol", "invalid-value", steps.error(), {}});
      }
      if (reading) return get_data(*peer, request, response, *steps);
      if (method == "POST") return edit_data(*peer, request, response, *steps, restconf::Method::post);
      if (method == "PUT") return edit_data(*peer, request, response, *steps, restconf::Method::put);
      if (method == "PATCH") return edit_data(*peer, request, response, *steps, restconf::Method::patch);
      if (method == "DELETE") {
        return edit_data(*peer, request, response, *steps, restconf::Method::remove);
      }
      response.set_header("Accept-Patch", kData);
      return allow(steps->empty() ? "GET, HEAD, OPTIONS, POST, PUT, PATCH"
                   : steps->front().module != "sluice"
                       ? "GET, HEAD, OPTIONS"
                       : "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE");
    }
    if (path == "/streams/events") {
      if (method != "GET") return allow("GET, OPTIONS");
      return events(*peer, request, response);
    }
    if (path.starts_with("/yang/")) {
      if (!reading) return allow("GET, HEAD, OPTIONS");
      if (path == "/yang/sluice.yang") {
        return response.set_content(std::string(model_source()), "application/yang");
      }
      if (path == "/yang/sluice-operations.yang") {
        return response.set_content(operations_yang(), "application/yang");
      }
    }
    if (path == "/openapi.json") {
      if (!reading) return allow("GET, HEAD, OPTIONS");
      return put(response, 200, openapi(*model, version), "application/json");
    }
    if (path == "/metrics") {
      if (!reading) return allow("GET, HEAD, OPTIONS");
      const json answer = ask(*peer, "show stats", {{"metrics", true}});
      if (!answer.value("ok", false)) return put(response, fault_of(answer));
      return response.set_content(answer["result"].value("text", std::string{}),
                                  "text/plain; version=0.0.4");
    }
    put(response, Fault{404, "protocol", "invalid-value", "there is no such resource", {}});
  }

  void guarded(const httplib::Request& request, httplib::Response& response) {
    try {
      handle(request, response);
    } catch (const std::exception& e) {
      put(response, Fault{500, "application", "operation-failed", e.what(), {}});
    }
  }

  std::string version;
  Ask ask_loop;
  mutable std::mutex config_mutex;
  std::shared_ptr<const HttpConfig> config;
  std::unique_ptr<Model> model;
  std::unique_ptr<httplib::SSLServer> server;
  std::thread thread;
  std::atomic<bool> stopping{false};
  std::atomic<std::uint16_t> bound{0};
  std::mutex edit_mutex;
  std::mutex rate_mutex;
  std::unordered_map<std::string, Budget> budgets;
  mutable std::mutex streams_mutex;
  std::vector<std::shared_ptr<Stream>> streams;
};

HttpServer::HttpServer(HttpConfig config, std::string version, Ask ask)
    : impl_(std::make_unique<Impl>(std::move(config), std::move(version), std::move(ask))) {}
HttpServer::~HttpServer() { stop(); }

bool HttpServer::needs_restart(const HttpConfig& a, const HttpConfig& b) {
  return a.enabled != b.enabled || a.interface != b.interface || a.address != b.address ||
         a.port != b.port || a.certificate != b.certificate || a.private_key != b.private_key;
}

void HttpServer::configure(const HttpConfig& config) {
  const std::lock_guard lock(impl_->config_mutex);
  impl_->config = std::make_shared<const HttpConfig>(config);
}

Status HttpServer::start(const std::vector<std::string>& wire_ports) {
  const auto c = impl_->current();
  const std::string where = c->address + " port " + std::to_string(c->port);
  const bool loopback = c->address.starts_with("127.") || c->address == "::1";
  if (!loopback && c->interface.empty()) {
    return Error{"HTTP API: " + where + " is not loopback and no management interface is named"};
  }
  if (!c->interface.empty() && std::find(wire_ports.begin(), wire_ports.end(), c->interface) !=
                                   wire_ports.end()) {
    return Error{"HTTP API: " + c->interface + " is a port of a wire"};
  }
  if (c->tokens.empty()) return Error{"HTTP API: no token is configured, and there is no default"};
  auto model = Model::create();
  if (!model) return Error{model.error()};
  impl_->model = std::move(*model);
  auto server = std::make_unique<httplib::SSLServer>(c->certificate.c_str(), c->private_key.c_str());
  if (!server->is_valid()) {
    return Error{"HTTP API: " + c->certificate.string() + ", " + c->private_key.string() +
                 ": certificate or key cannot be used"};
  }
  SSL_CTX_set_min_proto_version(server->ssl_context(), TLS1_2_VERSION);
  server->new_task_queue = [] { return new httplib::ThreadPool(kThreads + kMaxListeners); };
  server->set_payload_max_length(kMaxBody);
  server->set_read_timeout(10);
  server->set_write_timeout(10);
  server->set_keep_alive_max_count(100);
  server->set_socket_options([interface = c->interface](socket_t fd) {
    const int on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (!interface.empty()) {
      ::setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface.c_str(),
                   static_cast<socklen_t>(interface.size()));
    }
  });
  if (!c->interface.empty() && ::if_nametoindex(c->interface.c_str()) == 0) {
    return Error{"HTTP API: there is no interface " + c->interface};
  }
  // Everything goes by one function: routes are by the raw target, not by patterns.
  Impl* impl = impl_.get();
  // Routes are matched by std::regex, which recurses along the path: only short ones come so far.
  server->set_pre_routing_handler([](const httplib::Request& q, httplib::Response& r) {
    constexpr std::size_t kLongest = 2048;
    if (q.target.size() <= kLongest) return httplib::Server::HandlerResponse::Unhandled;
    Impl::put(r, Fault{414, "protocol", "too-big", "the target is too long", {}});
    return httplib::Server::HandlerResponse::Handled;
  });
  const auto handler = [impl](const httplib::Request& q, httplib::Response& r) {
    impl->guarded(q, r);
  };
  const std::string all = R"([\s\S]*)";
  server->Get(all, handler);
  server->Post(all, handler);
  server->Put(all, handler);
  server->Patch(all, handler);
  server->Delete(all, handler);
  server->Options(all, handler);
  if (!server->bind_to_port(c->address, c->port)) {
    return Error{"HTTP API: cannot listen at " + where};
  }
  impl_->server = std::move(server);
  impl_->bound = c->port;
  impl_->thread = std::thread([impl] { impl->server->listen_after_bind(); });
  // A stop() before it runs would not be seen.
  for (int i = 0; i < 1000 && !impl->server->is_running(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return ok();
}

void HttpServer::stop() {
  impl_->stopping = true;
  {
    const std::lock_guard lock(impl_->streams_mutex);
    for (const auto& s : impl_->streams) {
      const std::lock_guard hold(s->mutex);
      s->closed = true;
      s->wake.notify_all();
    }
  }
  if (impl_->server) impl_->server->stop();
  if (impl_->thread.joinable()) impl_->thread.join();
  impl_->bound = 0;
}

void HttpServer::publish(const json& event, const std::string& line) {
  const std::lock_guard lock(impl_->streams_mutex);
  std::erase_if(impl_->streams, [](const auto& s) {
    const std::lock_guard hold(s->mutex);
    return s->closed;
  });
  for (const auto& s : impl_->streams) {
    const std::lock_guard hold(s->mutex);
    if (!s->type.empty() && event.value("event_type", std::string{}) != s->type) continue;
    if (s->octets + line.size() > kMaxQueued) {
      ++s->lost;
      continue;
    }
    s->lines.push_back(line);
    s->octets += line.size();
    s->wake.notify_one();
  }
}

bool HttpServer::listeners() const {
  const std::lock_guard lock(impl_->streams_mutex);
  return !impl_->streams.empty();
}

std::uint16_t HttpServer::port() const { return impl_->bound; }

}  // namespace sluice::control
