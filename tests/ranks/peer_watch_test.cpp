// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/peer_watch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <torch/csrc/distributed/c10d/HashStore.hpp>

#include "tests/ranks/rank_threads.h"

namespace kvcalib {
namespace {

// Waits until a rank is lost; the reason.
std::string loss(PeerWatch& peers) {
  std::promise<void> lost;
  peers.when_lost([&] { lost.set_value(); });
  lost.get_future().wait();
  peers.when_lost({});  // the action does not use the promise any more
  try {
    peers.check();
  } catch (const PeerLost& failure) {
    return failure.what();
  }
  return "nobody is lost";
}

TEST(PeerWatch, IsMissedByNobodyOnceItHasFinished) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  PeerWatch(store, 1, 2, true).finish();
  Heartbeats other(*store, 0, 2, true);
  Heartbeats::Clock::time_point now;
  for (int i = 0; i < 1000; ++i)
    ASSERT_EQ(other.beat(now += Heartbeats::kMostOfABeat), std::nullopt);
}

TEST(PeerWatch, TellsAllRanksWhoFailed) {
  std::atomic<int64_t> told{0};
  run_rank_threads(3, [&](const Rank& rank, Rendezvous& rendezvous) {
    if (rank.index == 1) return rendezvous.peers().give_up();
    const std::string reason = loss(rendezvous.peers());
    told += reason.find("rank 1 has failed") != std::string::npos ? 1 : 0;
    rendezvous.peers().give_up();  // follows, and changes nothing
    told += loss(rendezvous.peers()) == reason ? 1 : 0;
  });
  EXPECT_EQ(told, 4);
}

TEST(PeerWatch, EndsTheWaitForAValueThatWillNotCome) {
  std::atomic<int64_t> ended{0};
  run_rank_threads(2, [&](const Rank& rank, Rendezvous& rendezvous) {
    if (rank.index == 1) return rendezvous.peers().give_up();
    try {
      rendezvous.get("never");
    } catch (const PeerLost& failure) {
      ended += std::string(failure.what()).find("rank 1") != std::string::npos ? 1 : 0;
    }
  });
  EXPECT_EQ(ended, 1);
}

TEST(PeerWatch, CallsTheActionAlsoWhenItComesLate) {
  std::atomic<int64_t> called{0};
  run_rank_threads(2, [&](const Rank& rank, Rendezvous& rendezvous) {
    if (rank.index == 1) return rendezvous.peers().give_up();
    loss(rendezvous.peers());
    rendezvous.peers().when_lost([&] { ++called; });
    rendezvous.peers().when_lost({});
  });
  EXPECT_EQ(called, 1);
}

}  // namespace
}  // namespace kvcalib
