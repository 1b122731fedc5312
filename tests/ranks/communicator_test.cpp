// SPDX-License-Identifier: Apache-2.0
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>

#include "sharding/files/error.h"
#include "sharding/ranks/make_communicator.h"
#include "tests/ranks/rank_threads.h"

namespace kvcalib {
namespace {

// What rank `rank` puts at byte `i` of its share.
uint8_t byte_of(int64_t rank, int64_t i) {
  return static_cast<uint8_t>(rank * 37 + i * 11 + i / 251);
}

TEST(SharedMemoryCommunicator, GathersEveryRanksShareOnEveryRank) {
  // More than a slot of the segment, and not a multiple of it.
  for (const int64_t share : {1, 4096, 3 * (1 << 20) + 512}) {
    std::atomic<int64_t> wrong{0};
    run_rank_threads(3, [&](const Rank& rank, Rendezvous& rendezvous) {
      const auto communicator = make_communicator(rank, at::kCPU, rendezvous);
      const at::Tensor bytes = at::full({3 * share}, 255, at::kByte);
      auto* const data = bytes.data_ptr<uint8_t>();
      for (int64_t i = 0; i < share; ++i) data[rank.index * share + i] = byte_of(rank.index, i);
      communicator->all_gather(bytes);
      for (int64_t peer = 0; peer < 3; ++peer)
        for (int64_t i = 0; i < share; ++i) wrong += data[peer * share + i] != byte_of(peer, i);
    });
    EXPECT_EQ(wrong, 0) << share;
  }
}

TEST(SharedMemoryCommunicator, PassesOnToTheNextRank) {
  for (const int64_t bytes : {1, 2 * (1 << 20) + 512}) {
    std::atomic<int64_t> wrong{0};
    run_rank_threads(3, [&](const Rank& rank, Rendezvous& rendezvous) {
      const auto communicator = make_communicator(rank, at::kCPU, rendezvous);
      const at::Tensor given = at::empty({bytes}, at::kByte);
      const at::Tensor taken = at::full({bytes}, 255, at::kByte);
      for (int64_t i = 0; i < bytes; ++i) given.data_ptr<uint8_t>()[i] = byte_of(rank.index, i);
      communicator->pass_on(given, taken);
      for (int64_t i = 0; i < bytes; ++i)
        wrong += taken.data_ptr<uint8_t>()[i] !=
                 (rank.index == 0 ? uint8_t{255} : byte_of(rank.index - 1, i));
    });
    EXPECT_EQ(wrong, 0) << bytes;
  }
}

TEST(SharedMemoryCommunicator, ReducesToTheMinimumOnEveryRank) {
  constexpr int64_t kCount = 300000;  // more than a slot holds
  std::atomic<int64_t> wrong{0};
  run_rank_threads(4, [&](const Rank& rank, Rendezvous& rendezvous) {
    const auto communicator = make_communicator(rank, at::kCPU, rendezvous);
    const at::Tensor values = at::empty({kCount}, at::kFloat);
    float* const data = values.data_ptr<float>();
    for (int64_t i = 0; i < kCount; ++i)
      data[i] = static_cast<float>((i + rank.index) % 4) - 2.0F + static_cast<float>(i % 7);
    communicator->all_reduce_minimum(values);
    for (int64_t i = 0; i < kCount; ++i) wrong += data[i] != -2.0F + static_cast<float>(i % 7);
  });
  EXPECT_EQ(wrong, 0);
}

TEST(SharedMemoryCommunicator, SumsOnEveryRank) {
  constexpr int64_t kCount = 200000;  // more than a slot holds
  std::atomic<int64_t> wrong{0};
  run_rank_threads(4, [&](const Rank& rank, Rendezvous& rendezvous) {
    const auto communicator = make_communicator(rank, at::kCPU, rendezvous);
    const at::Tensor values = at::empty({kCount}, at::kLong);
    auto* const data = values.data_ptr<int64_t>();
    for (int64_t i = 0; i < kCount; ++i) data[i] = (int64_t{1} << 58) * rank.index - i;
    communicator->all_reduce_sum(values);
    for (int64_t i = 0; i < kCount; ++i) wrong += data[i] != (int64_t{1} << 58) * 6 - 4 * i;
  });
  EXPECT_EQ(wrong, 0);
}

TEST(SharedMemoryCommunicator, LetsNobodyPastABarrierBeforeAllAreThere) {
  std::atomic<int64_t> arrived{0}, early{0};
  run_rank_threads(4, [&](const Rank& rank, Rendezvous& rendezvous) {
    const auto communicator = make_communicator(rank, at::kCPU, rendezvous);
    for (int64_t round = 1; round <= 50; ++round) {
      ++arrived;
      communicator->barrier();
      early += arrived < 4 * round;
      communicator->barrier();
    }
  });
  EXPECT_EQ(early, 0);
}

TEST(SharedMemoryCommunicator, ThrowsWhereOthersWaitForARankThatGaveUp) {
  std::atomic<int64_t> lost{0};
  run_rank_threads(3, [&](const Rank& rank, Rendezvous& rendezvous) {
    const auto communicator = make_communicator(rank, at::kCPU, rendezvous);
    if (rank.index == 1) return communicator->abort();
    try {
      communicator->barrier();
    } catch (const PeerLost&) {
      ++lost;
    }
  });
  EXPECT_EQ(lost, 2);
}

TEST(Rendezvous, CarriesValuesThatAreLargerThanTheStoreTakesAtOnce) {
  std::string large(size_t{21} << 20, '?');
  for (size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 2654435761U >> 13);
  std::atomic<int64_t> equal{0};
  run_rank_threads(3, [&](const Rank& rank, Rendezvous& rendezvous) {
    if (rank.index == 0) rendezvous.set("large", large);
    equal += rendezvous.get("large") == large ? 1 : 0;
    if (rank.index == 0) rendezvous.set("empty", "");
    equal += rendezvous.get("empty").empty() ? 1 : 0;
  });
  EXPECT_EQ(equal, 6);
}

}  // namespace
}  // namespace kvcalib
