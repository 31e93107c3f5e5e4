// What a port's driver and queues allow. No frames, no privileges.
#include "xdp/loader/port.h"

#include <gtest/gtest.h>

namespace sluice::xdp {
namespace {

std::string trouble(std::uint32_t in_use, std::uint32_t most, std::uint32_t cpus,
                    const char* driver = "virtio_net") {
  PortInfo port;
  port.driver = driver;
  port.queue_pairs = in_use;
  port.most_queue_pairs = most;
  return native_trouble("eth7", port, cpus);
}

// As many queues as CPUs is what most hosts give, and fewer are as good.
TEST(VirtioQueues, AsManyAsCpusAreTaken) {
  EXPECT_EQ(trouble(1, 1, 1), "");
  EXPECT_EQ(trouble(1, 1, 8), "");
  EXPECT_EQ(trouble(4, 4, 4), "");
  EXPECT_EQ(trouble(4, 7, 4), "");
}

// Seen on 6.1 with one CPU and two queues: a third of the mail came in on the driver's own queue,
// and passed uninspected.
TEST(VirtioQueues, ThoseThatTheDriverWouldTakeForItselfAreRefused) {
  EXPECT_NE(trouble(1, 2, 1).find("cannot be inspected"), std::string::npos);
  EXPECT_NE(trouble(4, 8, 4).find("as many queues as CPUs, 4"), std::string::npos);
  EXPECT_NE(trouble(3, 7, 4).find("`ethtool -L eth7 combined 4`"), std::string::npos);
}

// Seen on 6.1: null pointer in virtnet_xdp_xmit at the first frame, "Kernel panic".
TEST(VirtioQueues, ThoseThatBringTheKernelDownAreRefused) {
  EXPECT_NE(trouble(2, 2, 1).find("brings the kernel down"), std::string::npos);
  EXPECT_NE(trouble(5, 8, 4).find("brings the kernel down"), std::string::npos);
  EXPECT_NE(trouble(3, 3, 2).find("`ethtool -L eth7 combined 2`"), std::string::npos);
}

TEST(VirtioQueues, OtherDriversAreLeftAlone) {
  EXPECT_EQ(trouble(1, 2, 1, "veth"), "");
  EXPECT_EQ(trouble(8, 8, 4, "ice"), "");
}

}  // namespace
}  // namespace sluice::xdp
