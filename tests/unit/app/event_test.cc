// Statistics, rings, mailboxes and the control channel.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <optional>
#include <thread>
#include <vector>

#include "dataplane/event/control_server.h"
#include "dataplane/event/mailbox.h"
#include "dataplane/event/shared_objects.h"

namespace sluice::event {
namespace {

using contract::ChannelKind;

Bytes record(contract::EventWriter& writer, contract::EventType type, std::uint64_t sequence = 0) {
  contract::EventHeader header;
  header.type = type;
  header.sequence = sequence;
  writer.begin(header);
  writer.put(contract::Field::wire_state, "link-up");
  return writer.finish();
}

TEST(RingSink, NumbersEveryRecordAndALossLeavesAGap) {
  Result<EventRings> rings = EventRings::create(1, 65536);
  ASSERT_TRUE(rings);
  RingSink sink(rings->memory(0), rings->capacity());
  contract::EventRingConsumer consumer(rings->memory(0),
                                       contract::event_ring_bytes(rings->capacity()));
  ASSERT_TRUE(consumer.ok());
  contract::EventWriter writer;
  std::size_t written = 0;
  // The engine's own count is replaced: two writers share one sequence.
  while (sink.write(record(writer, contract::EventType::wire, 77))) ++written;
  ASSERT_GT(written, 100u);
  EXPECT_FALSE(sink.roomy());
  std::vector<std::uint64_t> seen;
  const auto use = [&seen](Bytes octets) {
    auto reader = contract::EventReader::open(octets);
    ASSERT_TRUE(reader);
    seen.push_back(reader->header().sequence);
  };
  EXPECT_EQ(consumer.read(10000, use), written);
  EXPECT_TRUE(sink.roomy());
  EXPECT_TRUE(sink.write(record(writer, contract::EventType::wire)));
  consumer.read(10, use);
  ASSERT_EQ(seen.size(), written + 1);
  for (std::size_t i = 0; i < written; ++i) EXPECT_EQ(seen[i], i + 1);
  EXPECT_EQ(seen.back(), written + 2);  // one was lost
  EXPECT_EQ(consumer.lost(), 1u);
}

TEST(RingSink, ASnapshotEndCarriesTheIdentityOfItsRequest) {
  Result<EventRings> rings = EventRings::create(2, 65536);
  ASSERT_TRUE(rings);
  RingSink sink(rings->memory(1), rings->capacity());
  sink.set_snapshot_identity(0xabcd1234);
  contract::EventWriter writer;
  ASSERT_TRUE(sink.write(record(writer, contract::EventType::snapshot_end)));
  contract::EventRingConsumer consumer(rings->memory(1),
                                       contract::event_ring_bytes(rings->capacity()));
  std::uint64_t identity = 0;
  consumer.read(1, [&identity](Bytes octets) {
    auto reader = contract::EventReader::open(octets);
    ASSERT_TRUE(reader);
    while (auto item = reader->next()) {
      if (item->field == contract::Field::tx_id) identity = item->number();
    }
  });
  EXPECT_EQ(identity, 0xabcd1234u);
}

TEST(StatisticsObject, AReaderFindsTheBlocksByTheContract) {
  Result<StatisticsObject> made = StatisticsObject::create(3);
  ASSERT_TRUE(made);
  made->worker(2).add(contract::Counter::loops, 5);
  void* seen = mmap(nullptr, made->size(), PROT_READ, MAP_SHARED, made->descriptor(), 0);
  ASSERT_NE(seen, MAP_FAILED);
  const auto* header = static_cast<const contract::StatisticsHeader*>(seen);
  EXPECT_EQ(header->magic, contract::kStatisticsMagic);
  EXPECT_EQ(header->workers, 3u);
  const auto* blocks = reinterpret_cast<const contract::WorkerStatistics*>(header + 1);
  EXPECT_EQ(blocks[2].read(contract::Counter::loops), 5u);
  EXPECT_EQ(blocks[0].read(contract::Counter::loops), 0u);
  munmap(seen, made->size());
  // A controller cannot make it shorter under us.
  EXPECT_NE(ftruncate(made->descriptor(), 1), 0);
}

TEST(Mailbox, LettersComeInOrderAndAFullBoxSaysSo) {
  Mailbox box;
  Letter letter;
  EXPECT_TRUE(box.empty());
  EXPECT_FALSE(box.receive(letter));
  for (std::uint32_t round = 0; round < 3; ++round) {
    for (std::uint32_t i = 0; i < Mailbox::kCapacity; ++i) {
      EXPECT_TRUE(box.send(Letter::snapshot(round * 1000 + i)));
    }
    EXPECT_FALSE(box.send(Letter::snapshot(9)));
    for (std::uint32_t i = 0; i < Mailbox::kCapacity; ++i) {
      ASSERT_TRUE(box.receive(letter));
      EXPECT_EQ(letter.identity, round * 1000 + i);
    }
    EXPECT_TRUE(box.empty());
  }
}

TEST(Mailbox, SendersOnSeveralThreadsLoseNothing) {
  Mailbox box;
  constexpr std::uint32_t kEach = 3000;
  const auto sender = [&box](std::uint32_t base) {
    for (std::uint32_t i = 0; i < kEach; ++i) {
      while (!box.send(Letter::snapshot(base + i))) std::this_thread::yield();
    }
  };
  std::jthread first(sender, 0);
  std::jthread second(sender, 1u << 30);
  std::uint32_t next[2] = {0, 1u << 30};
  for (std::uint32_t received = 0; received < 2 * kEach;) {
    Letter letter;
    if (!box.receive(letter)) continue;
    ++received;
    std::uint32_t& expected = next[letter.identity >> 30];
    EXPECT_EQ(letter.identity, expected++);
  }
}

// ---- control channel ----

class Channel : public testing::Test {
 protected:
  Channel() {
    char name[] = "/tmp/sluice-channel-XXXXXX";
    folder_ = mkdtemp(name);
    path_ = folder_ + "/a/dataplane.sock";
  }
  ~Channel() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }
  void start() {
    Result<ControlSocket> socket = ControlSocket::listen(path_);
    ASSERT_TRUE(socket) << socket.error();
    statistics_.emplace(std::move(*StatisticsObject::create(1)));
    rings_.emplace(std::move(*EventRings::create(1, 65536)));
    ControlHandlers handlers;
    handlers.greet = [](contract::ChannelHello& hello) { hello.workers = 42; };
    handlers.publish = [this](Bytes image, std::uint32_t epoch) {
      image_.assign(image.begin(), image.end());
      return PolicyReply{contract::PolicyStatus::adopted, epoch * 10, ""};
    };
    handlers.snapshot = [this](std::uint32_t identity) { snapshot_ = identity; };
    handlers.wires = [] { return std::vector<contract::ChannelWireState>(2); };
    server_ = std::make_unique<ControlServer>(std::move(*socket), statistics_->descriptor(),
                                              rings_->descriptor(), std::move(handlers));
  }
  int connect_raw() const {
    const int controller = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(connect(controller, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return controller;
  }
  // Connects and takes the greeting and the two wire states.
  int connect_greeted() const {
    const int controller = connect_raw();
    for (int i = 0; i < 3; ++i) {
      char octets[512];
      EXPECT_GT(recv(controller, octets, sizeof octets, 0), 0);
    }
    return controller;
  }
  static int memfd(std::string_view octets, int seals) {
    const int descriptor = memfd_create("t", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    EXPECT_EQ(write(descriptor, octets.data(), octets.size()), static_cast<ssize_t>(octets.size()));
    if (seals != 0) {
      EXPECT_EQ(fcntl(descriptor, F_ADD_SEALS, seals), 0);
    }
    return descriptor;
  }
  static contract::ChannelPolicyAnswer publish(int controller, int descriptor, std::uint64_t size,
                                               std::uint32_t epoch = 3) {
    contract::ChannelPublishPolicy message;
    message.kind = ChannelKind::publish_policy;
    message.epoch = epoch;
    message.size = size;
    iovec part{&message, sizeof message};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
    if (descriptor >= 0) {
      header.msg_control = control;
      header.msg_controllen = sizeof control;
      cmsghdr* rights = CMSG_FIRSTHDR(&header);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(rights), &descriptor, sizeof descriptor);
    }
    EXPECT_EQ(sendmsg(controller, &header, 0), static_cast<ssize_t>(sizeof message));
    if (descriptor >= 0) close(descriptor);
    contract::ChannelPolicyAnswer answer;
    EXPECT_EQ(recv(controller, &answer, sizeof answer, 0), static_cast<ssize_t>(sizeof answer));
    return answer;
  }

  static constexpr int kSeals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
  std::string folder_;
  std::string path_;
  std::vector<std::uint8_t> image_;
  std::atomic<std::uint32_t> snapshot_{0};
  std::optional<StatisticsObject> statistics_;
  std::optional<EventRings> rings_;
  std::unique_ptr<ControlServer> server_;
};

TEST_F(Channel, GreetsEveryControllerWithBothObjects) {
  start();
  for (int i = 0; i < 3; ++i) {
    const int controller = connect_raw();
    contract::ChannelHello hello;
    iovec part{&hello, sizeof hello};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 2)]{};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    ASSERT_EQ(recvmsg(controller, &header, 0), static_cast<ssize_t>(sizeof hello));
    EXPECT_EQ(hello.kind, ChannelKind::hello);
    EXPECT_EQ(hello.workers, 42u);
    const cmsghdr* rights = CMSG_FIRSTHDR(&header);
    ASSERT_NE(rights, nullptr);
    ASSERT_EQ(rights->cmsg_len, CMSG_LEN(sizeof(int) * 2));
    int descriptors[2];
    std::memcpy(descriptors, CMSG_DATA(rights), sizeof descriptors);
    std::uint32_t magic = 0;
    EXPECT_EQ(pread(descriptors[0], &magic, 4, 0), 4);
    EXPECT_EQ(magic, contract::kStatisticsMagic);
    close(descriptors[0]);
    close(descriptors[1]);
    close(controller);  // comes and goes
  }
}

TEST_F(Channel, TakesASealedPolicyAndAnswers) {
  start();
  const int controller = connect_greeted();
  const auto answer = publish(controller, memfd("policy!", kSeals), 7, 5);
  EXPECT_EQ(answer.status, contract::PolicyStatus::adopted);
  EXPECT_EQ(answer.epoch, 5u);
  EXPECT_EQ(answer.nanoseconds, 50u);
  EXPECT_EQ(as_text(image_), "policy!");
  close(controller);
}

TEST_F(Channel, RefusesWhatIsNotSealedOrNotOfItsSize) {
  start();
  const int controller = connect_greeted();
  struct Case {
    int descriptor;
    std::uint64_t size;
    const char* reason;
  };
  for (const Case& c :
       {Case{memfd("x", 0), 1, "not sealed"},
        Case{memfd("x", F_SEAL_WRITE | F_SEAL_GROW), 1, "not sealed"},
        Case{memfd("x", kSeals), 2, "octets"}, Case{memfd("", kSeals), 0, "octets"},
        Case{memfd("x", kSeals), UINT64_MAX, "octets"},
        Case{open("/dev/null", O_RDONLY), 1, "not sealed"}, Case{-1, 1, "no descriptor"}}) {
    const auto answer = publish(controller, c.descriptor, c.size);
    EXPECT_EQ(answer.status, contract::PolicyStatus::refused);
    EXPECT_NE(std::string(answer.reason).find(c.reason), std::string::npos) << answer.reason;
  }
  EXPECT_TRUE(image_.empty());
  close(controller);
}

TEST_F(Channel, UnknownKindsAreCountedAndWrongSizesEndTheConnection) {
  start();
  const int controller = connect_greeted();
  const std::uint32_t unknown[2] = {99, 0};
  ASSERT_EQ(send(controller, unknown, sizeof unknown, 0), 8);
  contract::ChannelFlowSnapshot snapshot;
  snapshot.kind = ChannelKind::flow_snapshot;
  snapshot.identity = 77;
  ASSERT_EQ(send(controller, &snapshot, sizeof snapshot, 0), 8);
  // The messages are served in order: an answer tells that both were read.
  EXPECT_EQ(publish(controller, memfd("x", kSeals), 1).status, contract::PolicyStatus::adopted);
  EXPECT_EQ(server_->unknown_messages(), 1u);
  EXPECT_EQ(snapshot_.load(), 77u);
  const std::uint32_t cut = static_cast<std::uint32_t>(ChannelKind::publish_policy);
  ASSERT_EQ(send(controller, &cut, sizeof cut, 0), 4);
  char octet;
  EXPECT_EQ(recv(controller, &octet, 1, 0), 0);
  close(controller);
}

TEST_F(Channel, AControllerThatDoesNotReadHoldsNobodyUp) {
  start();
  const int lazy = connect_raw();
  const int controller = connect_greeted();
  for (int i = 0; i < 3000; ++i) server_->wires_changed();
  // Its queue is full by now or soon; the other is served all the same.
  int states = 0;
  char octets[512];
  while (states < 100 && recv(controller, octets, sizeof octets, 0) > 0) {
    server_->wires_changed();
    ++states;
  }
  EXPECT_EQ(states, 100);
  close(lazy);
  close(controller);
}

TEST_F(Channel, AStaleSocketIsReplacedALiveOneIsNot) {
  start();
  Result<ControlSocket> second = ControlSocket::listen(path_);
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().find("another sluice-dataplane"), std::string::npos);
  server_.reset();
  EXPECT_FALSE(std::filesystem::exists(path_));
  // As a killed process leaves it.
  const int dead = socket(AF_UNIX, SOCK_SEQPACKET, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path_.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(bind(dead, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  close(dead);
  ASSERT_TRUE(std::filesystem::exists(path_));
  start();
  close(connect_greeted());
  struct stat file {};
  ASSERT_EQ(stat(path_.c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0600u);
}

TEST_F(Channel, APathThatIsNoSocketIsLeftAlone) {
  std::filesystem::create_directories(folder_ + "/a");
  close(open(path_.c_str(), O_CREAT | O_WRONLY, 0600));
  Result<ControlSocket> refused = ControlSocket::listen(path_);
  ASSERT_FALSE(refused);
  EXPECT_TRUE(std::filesystem::exists(path_));
}

}  // namespace
}  // namespace sluice::event
