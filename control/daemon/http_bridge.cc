// The HTTP API's requests, answered as those of the socket are: each is a client of its own for as
// long as it takes. The server's threads never touch what the loop owns.
#include <spdlog/spdlog.h>

#include "control/daemon/controller.h"

#ifndef SLUICE_VERSION
#define SLUICE_VERSION "unknown"
#endif

namespace sluice::control {

namespace {
// Above all that the socket's server gives.
constexpr ClientId kFirstHttpClient = ClientId{1} << 62;
}  // namespace

void Controller::respond(ClientId client, const json& answer) {
  if (client < kFirstHttpClient) {
    if (api_) api_->reply(client, answer);
    return;
  }
  const auto found = http_clients_.find(client);
  if (found == http_clients_.end()) return;
  const auto done = std::move(found->second);
  http_clients_.erase(found);
  done(answer);
}

// The server's threads.
void Controller::http_ask(Peer peer, json request, std::function<void(json)> done) {
  loop_.post([this, peer = std::move(peer), request = std::move(request), done = std::move(done)] {
    const ClientId client = kFirstHttpClient + ++http_requests_;
    http_clients_.emplace(client, done);
    api_request(client, peer, request);
  });
}

// Starts, stops or changes the server until it is what the configuration says. Starting and
// stopping wait for threads and so are done aside.
void Controller::configure_http() {
  if (!store_) return;
  const HttpConfig wanted = config_->http;
  std::vector<std::string> ports;
  for (const WireConfig& w : config_->wires) {
    ports.push_back(w.inside);
    ports.push_back(w.outside);
  }
  for (const EveWire& w : eve_.wires) {
    ports.push_back(w.inside);
    ports.push_back(w.outside);
  }
  if (http_ && !HttpServer::needs_restart(http_config_, wanted)) {
    http_->configure(wanted);
    http_config_ = wanted;
    return;
  }
  if (!http_ && !wanted.enabled) return;
  http_config_ = wanted;
  std::shared_ptr<HttpServer> old = std::move(http_);
  http_.reset();
  if (wanted.enabled) {
    http_ = std::make_shared<HttpServer>(
        wanted, SLUICE_VERSION, [this](Peer peer, json request, std::function<void(json)> done) {
          http_ask(std::move(peer), std::move(request), std::move(done));
        });
  }
  auto error = std::make_shared<std::string>();
  http_jobs_->run(
      [old, fresh = http_, ports, error] {
        if (old) old->stop();
        if (!fresh) return;
        if (const Status s = fresh->start(ports); !s) *error = s.error();
      },
      [this, fresh = http_, error] {
        if (fresh != http_) return;
        http_error_ = *error;
        if (!error->empty()) {
          spdlog::error("{}", *error);
          http_.reset();  // tried again with the next configuration
        } else if (http_) {
          spdlog::info("HTTP API at {} port {}", http_config_.address, http_config_.port);
        }
      });
}

}  // namespace sluice::control
