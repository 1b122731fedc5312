// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/interconnect.h"

#include <gtest/gtest.h>

namespace kvcalib {
namespace {

// Lines as NCCL 2.28 writes them, with others between.
constexpr const char* kLog =
    "host:7:9 [0] NCCL INFO Initialized NET plugin Socket.\n"
    "host:7:9 [0] NCCL INFO Pattern 4, crossNic 0, nChannels 24, bw 20.000000/12.500000, "
    "type NVL/PIX, sameChannels 1\n"
    "host:7:9 [0] NCCL INFO  0 : GPU/0-b GPU/0-c\n"
    "host:7:9 [0] NCCL INFO Pattern 1, crossNic 0, nChannels 24, bw 20.000000/20.000000, "
    "type NVL/SYS, sameChannels 1\n"
    "host:7:9 [0] NCCL INFO 24 coll channels, 24 collnet channels, 0 nvls channels, 32 p2p "
    "channels, 32 p2p channels per peer\n";

TEST(Interconnect, IsWhatNcclLogged) {
  // Of two ranks in one process.
  const Interconnect found = interconnect_from_log("NCCL 2.28.9", std::string(kLog) + kLog);
  ASSERT_EQ(found.graphs.size(), 2U);
  EXPECT_EQ(found.graphs[0].pattern, "ring");
  EXPECT_EQ(found.graphs[0].channels, 24);
  EXPECT_EQ(found.graphs[0].bandwidth, 20);
  EXPECT_EQ(found.graphs[0].link, "NVL");
  EXPECT_EQ(found.graphs[0].network, "PIX");
  EXPECT_EQ(found.graphs[1].pattern, "balanced tree");
  EXPECT_EQ(found.multicast_channels, 0);
  EXPECT_EQ(format(found),
            "NCCL 2.28.9: ring of 24 channels over NVL, balanced tree of 24 channels over NVL, "
            "no multicast");
}

TEST(Interconnect, TellsOfMulticast) {
  const Interconnect found = interconnect_from_log(
      "NCCL", "24 coll channels, 24 collnet channels, 16 nvls channels, 32 p2p channels\n");
  EXPECT_EQ(found.multicast_channels, 16);
  EXPECT_EQ(format(found), "NCCL, NVLink multicast");
}

TEST(Interconnect, StaysUnknownWithoutALogThatItCanRead) {
  for (const char* log : {"", "NCCL INFO Pattern 4, of a later release", "Pattern"}) {
    const Interconnect found = interconnect_from_log("NCCL 9.9.9", log);
    EXPECT_TRUE(found.graphs.empty()) << log;
    EXPECT_FALSE(found.multicast_channels) << log;
    EXPECT_EQ(format(found), "NCCL 9.9.9");
  }
}

}  // namespace
}  // namespace kvcalib
