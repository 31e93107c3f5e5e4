// The socket of sluiced against clients that are many, slow, greedy or nonsense.
#include "control/api/server.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <fstream>

#include "tests/unit/control/temporary_folder.h"

namespace sluice::control {
namespace {

using nlohmann::json;

struct Echo final : ApiServer::Handler {
  void api_request(ClientId client, const Peer& peer, const json& request) override {
    last = client;
    user = peer.uid;
    ++requests;
    if (request.value("later", false)) return;
    if (request.value("big", false)) {
      server->reply(client, {{"ok", true}, {"text", std::string(8u << 20, 'x')}});
      return;
    }
    server->reply(client, {{"ok", true}, {"echo", request}});
  }
  void api_client_gone(ClientId client) override { gone.push_back(client); }
  ApiServer* server = nullptr;
  ClientId last = 0;
  uid_t user = 0;
  int requests = 0;
  std::vector<ClientId> gone;
};

class Server : public testing::Test {
 protected:
  Server() : path(folder.path() / "c.sock") {
    auto listening = ApiServer::listen(path, echo);
    EXPECT_TRUE(listening) << listening.error();
    server = std::move(*listening);
    echo.server = server.get();
  }
  UniqueFd connect() {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    std::memcpy(a.sun_path, path.data(), path.size());
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
    return fd;
  }
  void turn() {
    pollfd p{server->fd(), POLLIN, 0};
    while (::poll(&p, 1, 0) > 0 && rounds-- > 0) server->ready();
    rounds = 1000;
  }
  static void say(const UniqueFd& fd, const std::string& text) {
    std::size_t done = 0;
    while (done < text.size()) {
      const ssize_t n =
          ::send(fd.get(), text.data() + done, text.size() - done, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n <= 0) return;
      done += static_cast<std::size_t>(n);
    }
  }
  static std::string hear(const UniqueFd& fd) {
    std::string all;
    char buffer[65536];
    ssize_t n = 0;
    while ((n = ::recv(fd.get(), buffer, sizeof buffer, MSG_DONTWAIT)) > 0) {
      all.append(buffer, static_cast<std::size_t>(n));
    }
    if (n == 0) all += "<end>";
    return all;
  }
  testing_support::TemporaryFolder folder;
  std::string path;
  Echo echo;
  std::unique_ptr<ApiServer> server;
  int rounds = 1000;
};

TEST_F(Server, AnswersLineByLineHoweverCut) {
  const UniqueFd client = connect();
  const std::string text = "{\"a\":1}\n{\"b\":2}\n";
  for (const char c : text) {
    say(client, std::string(1, c));
    turn();
  }
  const std::string heard = hear(client);
  EXPECT_NE(heard.find("\"a\":1"), std::string::npos);
  EXPECT_NE(heard.find("\"b\":2"), std::string::npos);
  EXPECT_EQ(echo.user, ::getuid()) << "from the kernel";
  struct stat found {};
  ASSERT_EQ(::stat(path.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0666u);
}

TEST_F(Server, OneRequestAtATime) {
  const UniqueFd client = connect();
  say(client, "{\"later\":true}\n{\"n\":2}\n");
  turn();
  EXPECT_EQ(echo.requests, 1);
  server->reply(echo.last, {{"ok", true}});
  turn();
  EXPECT_EQ(echo.requests, 2);
}

TEST_F(Server, NonsenseIsAnswered) {
  const UniqueFd client = connect();
  say(client, "hello\n[]\n\xff\xfe\n");
  turn();
  EXPECT_EQ(echo.requests, 0);
  EXPECT_NE(hear(client).find("not a JSON object"), std::string::npos);
  say(client, "{}\n");
  turn();
  EXPECT_EQ(echo.requests, 1) << "the connection is still good";
}

TEST_F(Server, EndlessRequestIsCutOff) {
  const UniqueFd client = connect();
  const std::string piece(1 << 20, 'x');
  turn();
  for (int i = 0; i < 1000 && server->clients() > 0; ++i) {
    say(client, piece);
    turn();
  }
  const std::string heard = hear(client);
  EXPECT_NE(heard.find("longer than"), std::string::npos);
  EXPECT_EQ(server->clients(), 0u);
}

TEST_F(Server, SlowReadersHoldNobodyUp) {
  const UniqueFd slow = connect();
  say(slow, "{\"big\":true}\n");
  turn();
  const UniqueFd quick = connect();
  say(quick, "{}\n");
  turn();
  EXPECT_NE(hear(quick).find("\"ok\":true"), std::string::npos);
  std::string all;
  for (int i = 0; i < 1000 && all.size() < (8u << 20); ++i) {
    all += hear(slow);
    turn();
  }
  EXPECT_GT(all.size(), 8u << 20) << "and it gets all of it in the end";
}

TEST_F(Server, SlowListenersLoseEventsNotMemory) {
  const UniqueFd client = connect();
  say(client, "{\"later\":true}\n");
  turn();
  server->keep_open(echo.last);
  const std::string line(1000, 'e');
  std::size_t lost = 0;
  for (int i = 0; i < 20'000; ++i) lost += server->push(echo.last, line) ? 0u : 1u;
  EXPECT_GT(lost, 10'000u);
  hear(client);
  turn();
  EXPECT_TRUE(server->push(echo.last, line));
}

TEST_F(Server, ListenersThatLeaveAreForgotten) {
  UniqueFd client = connect();
  say(client, "{\"later\":true}\n");
  turn();
  server->keep_open(echo.last);
  client.reset();
  turn();
  EXPECT_EQ(server->clients(), 0u);
  EXPECT_EQ(echo.gone.size(), 1u);
}

TEST_F(Server, TooManyClients) {
  std::vector<UniqueFd> all;
  for (std::size_t i = 0; i < ApiServer::kMaxClients; ++i) {
    all.push_back(connect());
    turn();
  }
  const UniqueFd late = connect();
  turn();
  EXPECT_NE(hear(late).find("too many clients"), std::string::npos);
  all.pop_back();
  turn();
  const UniqueFd next = connect();
  say(next, "{}\n");
  turn();
  EXPECT_NE(hear(next).find("\"ok\":true"), std::string::npos);
}

TEST_F(Server, SocketOfADeadProcessIsReplacedOthersAreNot) {
  Echo other;
  EXPECT_FALSE(ApiServer::listen(path, other)) << "a live one";
  const std::string dead = folder.path() / "dead.sock";
  {
    const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    std::memcpy(a.sun_path, dead.data(), dead.size());
    ASSERT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
  }
  EXPECT_TRUE(ApiServer::listen(dead, other));
  const std::string file = folder.path() / "file";
  std::ofstream(file) << "x";
  EXPECT_FALSE(ApiServer::listen(file, other));
  EXPECT_TRUE(std::filesystem::exists(file));
}

}  // namespace
}  // namespace sluice::control
