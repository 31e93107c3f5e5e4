#include "control/api/http_server.h"

#include <arpa/inet.h>
#include <httplib.h>
#include <net/if.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>

#include <atomic>
#include <future>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>

#include "control/api/digest.h"
#include "control/api/event_streams.h"
#include "control/api/http_values.h"
#include "control/api/json_text.h"
#include "control/api/operations.h"
#include "control/api/restconf.h"

namespace sluice::control {
namespace {

using nlohmann::json;
using restconf::Fault;

constexpr std::size_t kMaxBody = std::size_t{16} << 20;
constexpr std::size_t kThreads = 8;
constexpr int kAnswerSeconds = 620;
constexpr std::string_view kDataPath = "/restconf/data";
constexpr const char* kLibraryVersion = "2019-01-04";
constexpr const char* kAcceptable[] = {kYangData, "application/json", "application/*", "*/*"};

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
      std::erase_if(budgets,
                    [&](const auto& b) { return now - b.second.at > std::chrono::minutes(1); });
      // Still full: somebody uses many addresses; new ones then share one budget.
      if (budgets.size() > 10'000 && !budgets.contains(address))
        return within_locked("", cost, most, now);
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
      if (!t.expires.empty() && std::time(nullptr) >= seconds_of_rfc3339(t.expires)) continue;
      Peer peer;
      peer.uid = static_cast<uid_t>(-1);
      peer.gid = static_cast<gid_t>(-1);
      peer.user = t.name;
      peer.access = t.role;
      peer.origin = "https " + request.remote_addr;
      found = std::move(peer);
    }
    return found;
  }

  std::shared_ptr<const HttpConfig> current() const {
    const std::lock_guard lock(config_mutex);
    return config;
  }

  // ---- the configuration ----

  struct Running {
    json whole;
    std::string tag;
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
    r.tag = tag_of(result);
    r.changed = static_cast<std::time_t>(result.value("changed", std::uint64_t{0}));
    return r;
  }

  void get_data(const Peer& peer, const httplib::Request& request, httplib::Response& response,
                const std::vector<restconf::Step>& path) {
    if (Fault f = check_parameters(request, {"content", "depth", "fields", "with-defaults"}); f) {
      return put(response, f);
    }
    const std::string content =
        request.has_param("content") ? request.get_param_value("content") : "all";
    if (content != "all" && content != "config" && content != "nonconfig") {
      return put(
          response,
          Fault{400, "protocol", "invalid-value", "content is config, nonconfig or all", {}});
    }
    bool defaults = false;
    if (request.has_param("with-defaults")) {
      const std::string mode = request.get_param_value("with-defaults");
      if (mode != "report-all" && mode != "explicit") {
        return put(
            response,
            Fault{400, "protocol", "invalid-value", "with-defaults is report-all or explicit", {}});
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
    if (!conditions(request, response, r.tag, r.changed, true)) return;
    json resource;
    if (content == "nonconfig") {
      if (!target.steps.empty()) {
        return put(response,
                   Fault{404, "application", "invalid-value", "it holds configuration only", {}});
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
      data.update(yang_library());
      data.update(restconf_state());
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
    json all = yang_library();
    all.update(restconf_state());
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

  void edit_data(const Peer& peer, const httplib::Request& request, httplib::Response& response,
                 const std::vector<restconf::Step>& path, restconf::Method method) {
    if (Fault f = check_parameters(request, {}); f) return put(response, f);
    if (!path.empty() && path.front().module != "sluice") {
      return put(response,
                 Fault{405, "protocol", "operation-not-supported", "it cannot be changed", {}});
    }
    if (peer.access < Access::admin) {
      return put(response,
                 Fault{403,
                       "protocol",
                       "access-denied",
                       "a change of the configuration needs the role admin; " + peer.user + " is " +
                           std::string(kAccessNames[static_cast<std::size_t>(peer.access)]),
                       {}});
    }
    json body;
    if (method != restconf::Method::remove) {
      const std::string type = request.get_header_value("Content-Type");
      if (!type.starts_with(kYangData) && !type.starts_with("application/json")) {
        return put(response, Fault{415,
                                   "protocol",
                                   "malformed-message",
                                   "the body is to be " + std::string(kYangData),
                                   {}});
      }
      auto parsed = parse_json(request.body);
      if (!parsed) return put(response, malformed_body(parsed.error()));
      body = std::move(*parsed);
    }
    restconf::Target target;
    if (Fault f = restconf::resolve(*model, path, target); f) return put(response, f);
    // The edit is made of what runs when its turn comes; conditions must hold then too.
    const bool conditional = request.has_header("If-Match") ||
                             request.has_header("If-None-Match") ||
                             request.has_header("If-Unmodified-Since");
    json arguments = {{"operations",
                       {{{"operation", "restconf"},
                         {"method", request.method},
                         {"path", raw_path(request).substr(kDataPath.size())},
                         {"body", std::move(body)}}}},
                      {"comment", "RESTCONF " + request.method + " " + request.path}};
    for (int attempt = 0; attempt < 5; ++attempt) {
      if (conditional) {
        const Running r = running(peer, false);
        if (r.fault) return put(response, r.fault);
        if (!conditions(request, response, r.tag, r.changed, false)) return;
        arguments["expect"] = r.tag;
      }
      const json answer = ask(peer, "config apply", arguments);
      if (answer.value("ok", false)) return put_edited(response, answer["result"]);
      if (!answer.value("error", std::string{}).starts_with("changed meanwhile")) {
        return put(response, fault_of(answer));
      }
    }
    put(response,
        Fault{409, "application", "in-use", "the configuration is being changed by others", {}});
  }

  static void put_edited(httplib::Response& response, const json& result) {
    response.headers.erase("ETag");
    response.headers.erase("Last-Modified");
    response.set_header("ETag", "\"" + tag_of(result) + "\"");
    response.set_header(
        "Last-Modified",
        http_date(static_cast<std::time_t>(result.value("changed", std::uint64_t{0}))));
    response.status = result.value("created", false) ? 201 : 204;
    if (const auto location = result.value("location", std::string{}); !location.empty()) {
      response.set_header("Location", std::string(kDataPath) + location);
    }
  }

  // ---- operations ----

  void operation(const Peer& peer, const httplib::Request& request, httplib::Response& response,
                 const std::string& name) {
    if (Fault f = check_parameters(request, {}); f) return put(response, f);
    const std::string prefix = std::string(kOperationsModule) + ":";
    const Operation* o =
        name.starts_with(prefix) ? find_operation(name.substr(prefix.size())) : nullptr;
    if (o == nullptr) {
      return put(response, Fault{404,
                                 "application",
                                 "invalid-value",
                                 "'" + name.substr(0, 80) + "': no such operation",
                                 {}});
    }
    json arguments = json::object();
    if (!request.body.empty()) {
      const auto parsed = parse_json(request.body);
      if (!parsed) return put(response, malformed_body(parsed.error()));
      const json& body = *parsed;
      const std::string input = prefix + "input";
      if (!body.is_object() || body.size() != 1 || !body.contains(input) ||
          !body[input].is_object()) {
        return put(response, Fault{400,
                                   "protocol",
                                   "malformed-message",
                                   "the body is to be {\"" + input + "\": {...}}",
                                   {}});
      }
      for (const auto& [raw, value] : body[input].items()) {
        const std::string leaf = raw.starts_with(prefix) ? raw.substr(prefix.size()) : raw;
        const auto known = std::find_if(o->inputs.begin(), o->inputs.end(),
                                        [&](const OperationInput& i) { return i.name == leaf; });
        if (known == o->inputs.end()) {
          return put(response, Fault{400,
                                     "application",
                                     "unknown-element",
                                     "'" + leaf + "' is no input of " + std::string(o->name),
                                     {}});
        }
        json taken = value;
        // A 64-bit number is a string in JSON (RFC 7951 section 6.1); a plain number is taken too.
        if (known->type == "uint64" && value.is_string()) {
          const std::string digits = value.get<std::string>();
          if (digits.empty() || digits.size() > 19 ||
              digits.find_first_not_of("0123456789") != std::string::npos) {
            return put(
                response,
                Fault{400, "application", "invalid-value", "'" + leaf + "' is no number", {}});
          }
          taken = std::stoull(digits);
        }
        const bool fits = known->type == "uint64"    ? taken.is_number_unsigned()
                          : known->type == "boolean" ? taken.is_boolean()
                                                     : taken.is_string();
        if (!fits) {
          return put(response, Fault{400,
                                     "application",
                                     "invalid-value",
                                     "'" + leaf + "' is to be " + std::string(known->type),
                                     {}});
        }
        arguments[std::string(known->key)] = std::move(taken);
      }
    }
    for (const OperationInput& i : o->inputs) {
      if (i.mandatory && !arguments.contains(std::string(i.key))) {
        return put(response,
                   Fault{400,
                         "application",
                         "missing-element",
                         "'" + std::string(i.name) + "' is missing: " + std::string(i.help),
                         {}});
      }
    }
    const json answer = ask(peer, std::string(o->request), std::move(arguments));
    if (!answer.value("ok", false)) return put(response, fault_of(answer));
    put(response, 200, {{prefix + "output", {{"result", answer.value("result", json::object())}}}});
  }

  // ---- routes ----

  // Before a body is read: whether the request goes on. Otherwise it is answered.
  bool admit(const httplib::Request& request, httplib::Response& response) {
    response.set_header("Cache-Control", "no-cache");
    response.set_header("X-Content-Type-Options", "nosniff");
    constexpr std::size_t kLongest = 2048;
    if (request.target.size() > kLongest) {
      put(response, Fault{414, "protocol", "too-big", "the target is too long", {}});
    } else if (!within_rate(request.remote_addr, 1)) {
      response.set_header("Retry-After", "10");
      put(response, Fault{429, "protocol", "resource-denied", "too many requests", {}});
    } else if (request.path == "/.well-known/host-meta") {
      response.set_content(
          "<XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'>\n"
          "  <Link rel='restconf' href='/restconf'/>\n</XRD>\n",
          "application/xrd+xml");
    } else if (!who(request)) {
      // Guessing is to be slow.
      static_cast<void>(within_rate(request.remote_addr, 9));
      put_unknown(response);
    } else if (request.has_header("Transfer-Encoding")) {
      // The library bounds neither these nor what it inflates.
      put(response,
          Fault{411, "protocol", "malformed-message", "a body is to have its length", {}});
    } else if (request.has_header("Content-Encoding")) {
      put(response, Fault{415, "protocol", "malformed-message", "a body is to be as it is", {}});
    } else if (std::strtoull(request.get_header_value("Content-Length").c_str(), nullptr, 10) >
               kMaxBody) {
      // Not waited for. What 64 bits do not hold is the most that they do.
      put(response, Fault{413,
                          "protocol",
                          "too-big",
                          "the body is more than " + std::to_string(kMaxBody) + " octets",
                          {}});
    } else {
      return true;
    }
    return false;
  }

  static Fault malformed_body(const std::string& why) {
    return {400, "protocol", "malformed-message", "the body" + why, {}};
  }

  static void put_unknown(httplib::Response& response) {
    response.set_header("WWW-Authenticate", "Bearer realm=\"sluice\"");
    put(response, Fault{401, "protocol", "access-denied", "a token is needed", {}});
  }

  // What a resource takes: the answer to OPTIONS, and to a method that is not among it.
  static void allow(const httplib::Request& request, httplib::Response& response,
                    const char* methods) {
    response.set_header("Allow", methods);
    if (request.method == "OPTIONS") {
      response.status = 204;
      return;
    }
    put(response, Fault{405,
                        "protocol",
                        "operation-not-supported",
                        request.method + " is not for this resource",
                        {}});
  }
  static constexpr const char* kReadOnly = "GET, HEAD, OPTIONS";
  static bool reads(const httplib::Request& request) {
    return request.method == "GET" || request.method == "HEAD";
  }

  // RFC 8040 section 3.3, "{+restconf}" and below; `path` begins with /restconf.
  void api_resource(const Peer& peer, const httplib::Request& request, httplib::Response& response,
                    const std::string& path) {
    const std::string accept = request.get_header_value("Accept");
    const bool acceptable =
        accept.empty() || std::any_of(std::begin(kAcceptable), std::end(kAcceptable),
                                      [&](const char* a) { return accept.find(a) != accept.npos; });
    if (!acceptable) {
      return put(
          response,
          Fault{406, "protocol", "invalid-value", "answers are " + std::string(kYangData), {}});
    }
    constexpr std::string_view kOperationsPath = "/restconf/operations";
    if (path == kDataPath || path.starts_with(std::string(kDataPath) + "/")) {
      return data_resource(peer, request, response, path.substr(kDataPath.size()));
    }
    if (path.starts_with(std::string(kOperationsPath) + "/") &&
        path.size() > kOperationsPath.size() + 1) {
      if (request.method != "POST") return allow(request, response, "POST, OPTIONS");
      return operation(peer, request, response,
                       restconf::percent_decoded(path.substr(kOperationsPath.size() + 1)));
    }
    if (!reads(request)) return allow(request, response, kReadOnly);
    json names = json::object();
    for (const Operation& o : operations()) {
      names[std::string(kOperationsModule) + ":" + std::string(o.name)] = json::array({nullptr});
    }
    if (path == "/restconf" || path == "/restconf/") {
      return put_resource(request, response,
                          {{"ietf-restconf:restconf",
                            {{"data", json::object()},
                             {"operations", names},
                             {"yang-library-version", kLibraryVersion}}}});
    }
    if (path.starts_with(kOperationsPath)) {
      return put(response, 200, {{"ietf-restconf:operations", names}});
    }
    if (path == "/restconf/yang-library-version") {
      return put(response, 200, {{"ietf-restconf:yang-library-version", kLibraryVersion}});
    }
    put_missing(response);
  }

  void data_resource(const Peer& peer, const httplib::Request& request, httplib::Response& response,
                     const std::string& path) {
    const auto steps = restconf::parse_path(path);
    if (!steps) return put(response, Fault{400, "protocol", "invalid-value", steps.error(), {}});
    if (reads(request)) return get_data(peer, request, response, *steps);
    const std::pair<const char*, restconf::Method> edits[] = {{"POST", restconf::Method::post},
                                                              {"PUT", restconf::Method::put},
                                                              {"PATCH", restconf::Method::patch},
                                                              {"DELETE", restconf::Method::remove}};
    for (const auto& [name, method] : edits) {
      if (request.method == name) return edit_data(peer, request, response, *steps, method);
    }
    response.set_header("Accept-Patch", kYangData);
    allow(request, response,
          steps->empty()                      ? "GET, HEAD, OPTIONS, POST, PUT, PATCH"
          : steps->front().module != "sluice" ? kReadOnly
                                              : "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE");
  }

  void event_stream(const Peer& peer, const httplib::Request& request,
                    httplib::Response& response) {
    if (request.method != "GET") return allow(request, response, "GET, OPTIONS");
    if (peer.access < Access::viewer) {
      return put(response, Fault{403, "protocol", "access-denied", "needs the role viewer", {}});
    }
    if (Fault f = check_parameters(request, {"type"}); f) return put(response, f);
    streams.serve(request.get_param_value("type"), response);
  }

  static void put_missing(httplib::Response& response) {
    put(response, Fault{404, "protocol", "invalid-value", "there is no such resource", {}});
  }

  void handle(const httplib::Request& request, httplib::Response& response) {
    const auto peer = who(request);
    if (!peer) return put_unknown(response);  // its token is none any more
    const std::string path = raw_path(request);
    if (path == "/restconf" || path.starts_with("/restconf/")) {
      return api_resource(*peer, request, response, path);
    }
    if (path == "/streams/events") return event_stream(*peer, request, response);
    const bool known = path == "/yang/sluice.yang" || path == "/yang/sluice-operations.yang" ||
                       path == "/openapi.json" || path == "/metrics";
    if (!known) return put_missing(response);
    if (!reads(request)) return allow(request, response, kReadOnly);
    if (path == "/yang/sluice.yang") {
      response.set_content(std::string(model_source()), "application/yang");
    } else if (path == "/yang/sluice-operations.yang") {
      response.set_content(operations_yang(), "application/yang");
    } else if (path == "/openapi.json") {
      put(response, 200, openapi(*model, version), "application/json");
    } else {
      const json answer = ask(*peer, "show stats", {{"metrics", true}});
      if (!answer.value("ok", false)) return put(response, fault_of(answer));
      response.set_content(answer["result"].value("text", std::string{}),
                           "text/plain; version=0.0.4");
    }
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
  std::mutex rate_mutex;
  std::unordered_map<std::string, Budget> budgets;
  EventStreams streams;
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
  if (!c->interface.empty() &&
      std::find(wire_ports.begin(), wire_ports.end(), c->interface) != wire_ports.end()) {
    return Error{"HTTP API: " + c->interface + " is a port of a wire"};
  }
  if (c->tokens.empty()) return Error{"HTTP API: no token is configured, and there is no default"};
  auto model = Model::create();
  if (!model) return Error{model.error()};
  impl_->model = std::move(*model);
  auto server =
      std::make_unique<httplib::SSLServer>(c->certificate.c_str(), c->private_key.c_str());
  if (!server->is_valid()) {
    return Error{"HTTP API: " + c->certificate.string() + ", " + c->private_key.string() +
                 ": certificate or key cannot be used"};
  }
  SSL_CTX_set_min_proto_version(server->ssl_context(), TLS1_2_VERSION);
  server->new_task_queue = [] {
    return new httplib::ThreadPool(kThreads + EventStreams::kMaxListeners);
  };
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
  server->set_pre_routing_handler([impl](const httplib::Request& q, httplib::Response& r) {
    if (!impl->admit(q, r)) return httplib::Server::HandlerResponse::Handled;
    const bool body = q.method == "POST" || q.method == "PUT" || q.method == "PATCH";
    if (!body || q.has_header("Content-Length") || q.has_header("Transfer-Encoding")) {
      return httplib::Server::HandlerResponse::Unhandled;
    }
    impl->guarded(q, r);  // no body (RFC 9112 section 6.3); the library would wait for one
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
  impl_->streams.close();
  if (impl_->server) impl_->server->stop();
  if (impl_->thread.joinable()) impl_->thread.join();
  impl_->bound = 0;
}

void HttpServer::publish(const json& event, const std::string& line) {
  impl_->streams.publish(event, line);
}
bool HttpServer::listeners() const { return impl_->streams.listeners(); }
std::uint16_t HttpServer::port() const { return impl_->bound; }

}  // namespace sluice::control
