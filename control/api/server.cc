#include "control/api/server.h"

#include <poll.h>
#include <pwd.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

namespace sluice::control {
namespace {

using nlohmann::json;

std::string reason_of(const std::string& what, int error) {
  return what + ": " + std::generic_category().message(error);
}

bool make_address(const std::string& path, sockaddr_un& address) {
  address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, path.data(), path.size());
  return true;
}

std::string user_name(uid_t uid) {
  passwd entry{};
  passwd* found = nullptr;
  std::vector<char> buffer(16384);
  if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr) {
    return found->pw_name;
  }
  return std::to_string(uid);
}

// The groups of who connected, as they were then (Linux 4.13).
std::vector<gid_t> groups_of(int fd) {
  std::vector<gid_t> groups(64);
  for (int attempt = 0; attempt < 2; ++attempt) {
    auto size = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    const int result = ::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size);
    groups.resize(size / sizeof(gid_t));
    if (result == 0) return groups;
    if (errno != ERANGE) break;
  }
  return {};
}

std::string dump_line(const json& j) {
  return j.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace

struct ApiServer::Client {
  ClientId id = 0;
  UniqueFd fd;
  Peer peer;
  std::string input;
  std::size_t scanned = 0;  // octets of input known to hold no line end
  std::string output;
  std::size_t sent = 0;
  bool busy = false;       // a request is being answered
  bool ended = false;      // the client will send no more
  bool closing = false;    // goes once output is written
  bool dead = false;       // goes now
  bool listening = false;  // its request is answered by pushed lines until it goes
  std::uint32_t watched = 0;
};

ApiServer::ApiServer(std::string path, UniqueFd listener, Handler& handler)
    : path_(std::move(path)),
      listener_(std::move(listener)),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      handler_(handler) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = 0;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, listener_.get(), &event);
}

ApiServer::~ApiServer() {
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

Result<std::unique_ptr<ApiServer>> ApiServer::listen(const std::string& path, Handler& handler) {
  sockaddr_un address;
  if (!make_address(path, address)) return Error{path + ": not a path for a socket"};
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(probe.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
    return Error{path + ": another process answers on this socket"};
  }
  struct stat found {};
  if (::lstat(path.c_str(), &found) == 0) {
    if (!S_ISSOCK(found.st_mode)) return Error{path + ": is in the way and no socket"};
    ::unlink(path.c_str());
  }
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return Error{reason_of("socket", errno)};
  const mode_t before = ::umask(0111);
  const int bound = ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
  const int error = errno;
  ::umask(before);
  if (bound != 0) return Error{reason_of(path, error)};
  if (::listen(fd.get(), 64) != 0) return Error{reason_of(path, errno)};
  return std::unique_ptr<ApiServer>(new ApiServer(path, std::move(fd), handler));
}

void ApiServer::ready() {
  epoll_event events[64];
  const int count = ::epoll_wait(epoll_.get(), events, 64, 0);
  for (int i = 0; i < count; ++i) {
    const std::uint64_t id = events[i].data.u64;  // a copy: the structure is packed
    if (id == 0) {
      accept_all();
      continue;
    }
    const auto found = clients_.find(id);
    if (found == clients_.end()) continue;
    Client& client = *found->second;
    if ((events[i].events & EPOLLOUT) != 0) write(client);
    if ((events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !client.dead) read(client);
  }
  close_marked();
}

void ApiServer::accept_all() {
  while (true) {
    UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) return;
    if (clients_.size() >= kMaxClients) {
      const std::string line = dump_line({{"ok", false}, {"error", "too many clients"}});
      [[maybe_unused]] const ssize_t n =
          ::send(fd.get(), line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      continue;
    }
    ucred credentials{};
    socklen_t size = sizeof credentials;
    if (::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) continue;
    auto client = std::make_unique<Client>();
    client->id = next_id_++;
    client->fd = std::move(fd);
    client->peer.uid = credentials.uid;
    client->peer.gid = credentials.gid;
    client->peer.pid = credentials.pid;
    client->peer.user = user_name(credentials.uid);
    client->peer.groups = groups_of(client->fd.get());
    epoll_event event{};
    event.events = client->watched = EPOLLIN;
    event.data.u64 = client->id;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, client->fd.get(), &event) != 0) continue;
    clients_.emplace(client->id, std::move(client));
  }
}

void ApiServer::read(Client& client) {
  char buffer[65536];
  while (!client.ended && client.input.size() <= kMaxRequest) {
    const ssize_t n = ::recv(client.fd.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (n > 0) {
      client.input.append(buffer, static_cast<std::size_t>(n));
      if (client.busy && client.input.size() > sizeof buffer)
        break;  // the rest waits in the kernel
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    client.ended = true;
    if (n < 0) client.dead = true;
  }
  next_request(client);
}

void ApiServer::next_request(Client& client) {
  while (!client.busy && !client.closing && !client.dead) {
    const std::size_t end = client.input.find('\n', client.scanned);
    if (end == std::string::npos) {
      client.scanned = client.input.size();
      if (client.input.size() > kMaxRequest) {
        client.closing = true;
        reply(client.id, {{"ok", false}, {"error", "the request is longer than 16 MiB"}});
      } else if (client.ended) {
        client.closing = true;
      }
      break;
    }
    const json request = json::parse(client.input.substr(0, end), nullptr, false);
    client.input.erase(0, end + 1);
    client.scanned = 0;
    client.busy = true;
    if (!request.is_object()) {
      reply(client.id, {{"ok", false}, {"error", "the request is not a JSON object"}});
    } else {
      handler_.api_request(client.id, client.peer, request);
    }
  }
  // Whoever sends its request and then half-closes still gets its answer; one that only listens
  // has nothing more to wait for.
  if (client.ended && client.listening) client.dead = true;
  watch(client);
}

void ApiServer::reply(ClientId id, const json& answer) {
  const auto found = clients_.find(id);
  if (found == clients_.end()) return;
  Client& client = *found->second;
  client.busy = false;
  std::string line = dump_line(answer);
  if (line.size() > kMaxAnswer) {
    line = dump_line({{"ok", false}, {"error", "the answer is longer than 64 MiB; ask for less"}});
  }
  if (client.output.size() - client.sent + line.size() > kMaxAnswer) {
    client.dead = true;  // asks on and on and never reads
  } else {
    client.output += line;
    write(client);
  }
  watch(client);
}

void ApiServer::keep_open(ClientId id) {
  if (const auto found = clients_.find(id); found != clients_.end()) {
    found->second->listening = true;
  }
}

bool ApiServer::push(ClientId id, const std::string& line) {
  const auto found = clients_.find(id);
  if (found == clients_.end()) return false;
  Client& client = *found->second;
  if (client.output.size() - client.sent + line.size() + 1 > kMaxPushed) return false;
  client.output += line;
  client.output += '\n';
  write(client);
  watch(client);
  return true;
}

void ApiServer::write(Client& client) {
  while (client.sent < client.output.size()) {
    const ssize_t n = ::send(client.fd.get(), client.output.data() + client.sent,
                             client.output.size() - client.sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) {
      client.dead = true;
      break;
    }
    client.sent += static_cast<std::size_t>(n);
  }
  if (client.sent == client.output.size()) {
    client.output.clear();
    client.sent = 0;
  } else if (client.sent > (std::size_t{1} << 20)) {
    client.output.erase(0, client.sent);
    client.sent = 0;
  }
}

void ApiServer::watch(Client& client) {
  if (client.closing && client.output.empty()) client.dead = true;
  std::uint32_t wanted = 0;
  // A busy client is still listened to, or its going away would be missed; but no more is read
  // than one buffer.
  if (!client.ended && client.input.size() <= 65536 + (client.busy ? 0 : kMaxRequest)) {
    wanted |= EPOLLIN;
  }
  if (!client.output.empty()) wanted |= EPOLLOUT;
  // A further request that is already here must not wait for another octet to come.
  if (!client.busy && !client.input.empty() && client.scanned == 0) wanted |= EPOLLOUT;
  if (client.dead) wanted = EPOLLOUT;  // wakes ready(), which removes it
  if (wanted == client.watched) return;
  client.watched = wanted;
  epoll_event event{};
  event.events = wanted;
  event.data.u64 = client.id;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, client.fd.get(), &event);
}

void ApiServer::close_marked() {
  std::vector<ClientId> gone;
  for (auto& [id, client] : clients_) {
    // Answered meanwhile: the next request may already be here.
    if (!client->dead && !client->busy && !client->input.empty()) next_request(*client);
    if (client->dead) gone.push_back(id);
  }
  for (const ClientId id : gone) {
    clients_.erase(id);
    handler_.api_client_gone(id);
  }
}

Result<ApiClient> ApiClient::connect(const std::string& path, unsigned timeout_seconds) {
  sockaddr_un address;
  if (!make_address(path, address)) return Error{path + ": not a path for a socket"};
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return Error{reason_of("socket", errno)};
  const timeval wait{static_cast<time_t>(timeout_seconds), 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    const int error = errno;
    return Error{reason_of("sluiced does not answer on " + path, error) +
                 (error == ENOENT || error == ECONNREFUSED ? " (is it running?)" : "")};
  }
  return ApiClient(std::move(fd));
}

Status ApiClient::send(const json& request) {
  const std::string line = dump_line(request);
  for (std::size_t done = 0; done < line.size();) {
    const ssize_t n = ::send(fd_.get(), line.data() + done, line.size() - done, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error{reason_of("sending to sluiced", errno)};
    done += static_cast<std::size_t>(n);
  }
  return ok();
}

bool ApiClient::readable() const {
  pollfd watched{fd_.get(), POLLIN, 0};
  return ::poll(&watched, 1, 0) > 0;
}

Result<json> ApiClient::receive() {
  std::size_t scanned = 0;
  while (true) {
    const std::size_t end = buffer_.find('\n', scanned);
    if (end != std::string::npos) {
      json answer = json::parse(buffer_.substr(0, end), nullptr, false);
      buffer_.erase(0, end + 1);
      if (!answer.is_object()) return Error{"sluiced answered something that is no JSON object"};
      return answer;
    }
    scanned = buffer_.size();
    char piece[65536];
    const ssize_t n = ::recv(fd_.get(), piece, sizeof piece, 0);
    if (n < 0 && errno == EINTR) return Error{"interrupted"};
    if (n < 0 && errno == EAGAIN) return Error{"sluiced did not answer in time"};
    if (n < 0) return Error{reason_of("reading from sluiced", errno)};
    if (n == 0) return Error{"sluiced closed the connection"};
    buffer_.append(piece, static_cast<std::size_t>(n));
  }
}

}  // namespace sluice::control
