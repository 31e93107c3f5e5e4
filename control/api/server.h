// The Unix socket on which sluiced is asked: one JSON object a line each way.
//
//   > {"command":"show hosts","arguments":{"limit":20}}
//   < {"ok":true,"result":{...}}            or {"ok":false,"error":"why"}
//                                           or {"ok":true,"partial":true,...} (exit status 3)
//   < {"event":{...}}                       after "monitor", until the client goes
//
// Who asks is known from the kernel (SO_PEERCRED, SO_PEERGROUPS), never from what is said; whether
// they may is the handler's to say, so everybody may connect (0666). A client has one
// request at a time; what it sends beyond waits unread. Sizes are bounded: requests 16 MiB, answers
// that wait 64 MiB, events that wait for a slow listener 4 MiB (dropped and counted beyond), 128
// clients. Nothing blocks. One thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "control/api/access.h"
#include "control/publish/channel.h"
#include "dataplane/base/result.h"

namespace sluice::control {

struct Peer {
  uid_t uid = 0;
  gid_t gid = 0;
  pid_t pid = 0;
  std::string user;           // name of the uid, or its number
  std::vector<gid_t> groups;  // beside gid
  Access access = Access::none;
  std::string origin;  // empty: the socket
  // Where it comes from, for the audit log.
  std::string from() const {
    if (!origin.empty()) return origin;
    return "local uid " + std::to_string(uid) + " pid " + std::to_string(pid);
  }
};

using ClientId = std::uint64_t;

class ApiServer {
 public:
  class Handler {
   public:
    // Answered by reply(), now or later. `request` is an object; its members are unchecked.
    virtual void api_request(ClientId client, const Peer& peer, const nlohmann::json& request) = 0;
    virtual void api_client_gone(ClientId client) = 0;

   protected:
    ~Handler() = default;
  };

  // Makes the socket (mode 0666: roles decide, see daemon/access.h). Fails when another process
  // answers on it; a dead one's socket is replaced. `handler` must outlive the server.
  static Result<std::unique_ptr<ApiServer>> listen(const std::string& path, Handler& handler);
  ~ApiServer();
  ApiServer(const ApiServer&) = delete;
  ApiServer& operator=(const ApiServer&) = delete;

  int fd() const { return epoll_.get(); }
  void ready();

  // The answer to the client's request; its next one is read then. No effect when it is gone.
  void reply(ClientId client, const nlohmann::json& answer);
  // The client's request is never answered; lines are pushed to it until it goes.
  void keep_open(ClientId client);
  // One more line for a client that listens; false when it was dropped because the client is slow.
  bool push(ClientId client, const std::string& line);
  std::size_t clients() const { return clients_.size(); }

  static constexpr std::size_t kMaxRequest = std::size_t{16} << 20;
  static constexpr std::size_t kMaxAnswer = std::size_t{64} << 20;
  static constexpr std::size_t kMaxPushed = std::size_t{4} << 20;
  static constexpr std::size_t kMaxClients = 128;

 private:
  struct Client;
  ApiServer(std::string path, UniqueFd listener, Handler& handler);
  void accept_all();
  void read(Client& client);
  void next_request(Client& client);
  void write(Client& client);
  void watch(Client& client);
  void close_marked();

  std::string path_;
  UniqueFd listener_;
  UniqueFd epoll_;
  Handler& handler_;
  std::map<ClientId, std::unique_ptr<Client>> clients_;
  ClientId next_id_ = 1;
};

// The other end, for sluicectl. Blocking. `timeout_seconds` bounds each wait; 0: none.
class ApiClient {
 public:
  static Result<ApiClient> connect(const std::string& path, unsigned timeout_seconds);
  Status send(const nlohmann::json& request);
  Result<nlohmann::json> receive();
  // For those who wait for other things too: a whole line is here already; something can be read.
  bool buffered() const { return buffer_.find('\n') != std::string::npos; }
  bool readable() const;
  int fd() const { return fd_.get(); }

 private:
  explicit ApiClient(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
  std::string buffer_;
};

}  // namespace sluice::control
