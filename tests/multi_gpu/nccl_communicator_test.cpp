// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/nccl_communicator.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <iostream>

#include "sharding/ranks/nccl_log.h"
#include "tests/ranks/rank_threads.h"

namespace kvcalib {
namespace {

constexpr int64_t kRanks = 2;

// A test over two GPUs of one machine; skipped where there are fewer.
class NcclBetweenGpus : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { prepare_nccl(); }
  void SetUp() override {
    if (c10::cuda::device_count() < kRanks)
      GTEST_SKIP() << "needs " << kRanks << " GPUs, sees "
                   << static_cast<int>(c10::cuda::device_count());
  }
};

// Runs `work` as every rank, on its own GPU, with a communicator between them.
void run_ranks(const std::function<void(const at::Device&, NcclCommunicator&)>& work) {
  run_rank_threads(kRanks, [&](const Rank& rank, Rendezvous& rendezvous) {
    const at::Device device(at::kCUDA, static_cast<at::DeviceIndex>(rank.index));
    const c10::cuda::CUDAGuard guard(device);
    NcclCommunicator communicator(rank, device, rendezvous);
    work(device, communicator);
  });
}

TEST_F(NcclBetweenGpus, GathersEveryRanksShareOnEveryRank) {
  std::atomic<int64_t> equal{0};
  run_ranks([&](const at::Device& device, NcclCommunicator& communicator) {
    const int64_t share = 1 << 20;
    const at::Tensor bytes = at::full({kRanks * share}, 255, at::device(device).dtype(at::kByte));
    bytes.narrow(0, communicator.rank() * share, share).fill_(communicator.rank() + 1);
    communicator.all_gather(bytes);
    const at::Tensor expected = at::arange(1, kRanks + 1).to(at::kByte).repeat_interleave(share);
    equal += at::equal(bytes.cpu(), expected) ? 1 : 0;
  });
  EXPECT_EQ(equal, kRanks);
}

TEST_F(NcclBetweenGpus, PassesOnToTheNextRank) {
  std::atomic<int64_t> equal{0};
  run_ranks([&](const at::Device& device, NcclCommunicator& communicator) {
    const auto filled = [&](int64_t value) {
      return at::full({1000003}, value, at::device(device).dtype(at::kByte));
    };
    const at::Tensor taken = filled(9);
    communicator.pass_on(filled(communicator.rank() + 1), taken);
    equal += at::equal(taken, filled(communicator.rank() == 0 ? 9 : communicator.rank())) ? 1 : 0;
  });
  EXPECT_EQ(equal, kRanks);
}

TEST_F(NcclBetweenGpus, ReducesToTheMinimumOnEveryRank) {
  std::atomic<int64_t> equal{0};
  run_ranks([&](const at::Device& device, NcclCommunicator& communicator) {
    const at::Tensor values = at::full({1000}, 5.0, at::device(device));
    values.narrow(0, 500 * communicator.rank(), 500).fill_(-3.0);
    communicator.all_reduce_minimum(values);
    communicator.barrier();
    equal += at::equal(values.cpu(), at::full({1000}, -3.0)) ? 1 : 0;
  });
  EXPECT_EQ(equal, kRanks);
}

TEST_F(NcclBetweenGpus, SumsOnEveryRank) {
  std::atomic<int64_t> equal{0};
  run_ranks([&](const at::Device& device, NcclCommunicator& communicator) {
    const int64_t large = int64_t{1} << 60;
    const at::Tensor values = at::full({1000}, large + communicator.rank(), device);
    communicator.all_reduce_sum(values);
    communicator.barrier();
    equal += at::equal(values.cpu(), at::full({1000}, 2 * large + 1)) ? 1 : 0;
  });
  EXPECT_EQ(equal, kRanks);
}

TEST_F(NcclBetweenGpus, TellsItsTopologyAndUsesNoMulticast) {
  std::atomic<int64_t> told{0};
  run_ranks([&](const at::Device& /*device*/, NcclCommunicator& communicator) {
    const Interconnect found = communicator.interconnect();
    communicator.barrier();
    told += found.library.starts_with("NCCL 2.") && !found.graphs.empty() &&
                    found.graphs.front().pattern == "ring" && found.graphs.front().channels > 0 &&
                    found.multicast_channels == 0
                ? 1
                : 0;
    if (communicator.rank() == 0) std::cout << format(found) << "\n";
  });
  EXPECT_EQ(told, kRanks);
}

TEST_F(NcclBetweenGpus, ThrowsWhereOthersWaitForARankThatGaveUp) {
  std::atomic<int64_t> lost{0};
  run_ranks([&](const at::Device& /*device*/, NcclCommunicator& communicator) {
    communicator.barrier();
    if (communicator.rank() == 1) return communicator.abort();
    try {
      communicator.barrier();
    } catch (const PeerLost& failure) {
      lost += std::string(failure.what()).find("rank 1 has failed") != std::string::npos ? 1 : 0;
    }
  });
  EXPECT_EQ(lost, 1);
}

}  // namespace
}  // namespace kvcalib
