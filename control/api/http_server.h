// The HTTP API: RESTCONF (RFC 8040), operations, events by server-sent events, metrics and their
// description (OpenAPI 3), over TLS.
//
// Theory. Threads of its own speak HTTP; what they need of sluiced they ask through `Ask`, which
// runs a request in the loop as if it had come by the socket and calls back. They wait, the loop
// does not. Everybody needs a token (Authorization: Bearer); only its SHA-256 is known here. There
// is no default one. Requests of a client address are bounded a minute; a wrong token costs ten.
// The API listens at loopback, or at an address of the management interface and then takes only
// what comes in there (SO_BINDTODEVICE); a port of a wire is refused.
//
// Events are handed to each listener's queue of 4 MiB; what a slow one does not take is counted and
// told to it as a comment. start() and stop() may block; publish() does not.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "control/api/config.h"
#include "control/api/model.h"
#include "control/api/server.h"
#include "dataplane/base/result.h"

namespace sluice::control {

class HttpServer {
 public:
  // Runs {"command","arguments"} for `peer` in the loop; `done` is called once with the answer of
  // the socket's protocol. From any thread.
  using Ask = std::function<void(Peer peer, nlohmann::json request,
                                 std::function<void(nlohmann::json answer)> done)>;

  HttpServer(HttpConfig config, std::string version, Ask ask);
  ~HttpServer();  // stop()
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Listens and begins to serve. `wire_ports`: interfaces that are refused.
  Status start(const std::vector<std::string>& wire_ports);
  void stop();
  // Tokens and rate of a new configuration; the rest needs another server.
  void configure(const HttpConfig& config);
  static bool needs_restart(const HttpConfig& before, const HttpConfig& after);

  // One event to all who listen. The loop's thread; does not wait. `event` is `line` parsed.
  void publish(const nlohmann::json& event, const std::string& line);
  bool listeners() const;
  std::uint16_t port() const;  // bound; 0: not

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The description of all that is served, OpenAPI 3.0, made of the model and the table of
// operations.
nlohmann::json openapi(const Model& model, const std::string& version);
// What the server says of itself: ietf-yang-library (RFC 8525), ietf-restconf-monitoring (RFC 8040
// section 9).
nlohmann::json yang_library();
nlohmann::json restconf_state();

}  // namespace sluice::control
