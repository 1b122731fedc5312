// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/peer_watch.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <future>
#include <system_error>
#include <torch/csrc/distributed/c10d/HashStore.hpp>

#include "tests/ranks/rank_threads.h"

namespace kvcalib {
namespace {

// Of the threads that this one starts, the one that cannot be started, from 1; 0: all can.
thread_local int refused_thread = 0;

}  // namespace
}  // namespace kvcalib

// In the place of the system's, for this whole program.
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                              void* (*work)(void*), void* argument) noexcept {
  if (kvcalib::refused_thread > 0 && --kvcalib::refused_thread == 0) return EAGAIN;
  static const auto kNext =
      reinterpret_cast<decltype(&pthread_create)>(dlsym(RTLD_NEXT, "pthread_create"));
  return kNext(thread, attributes, work, argument);
}

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

TEST(PeerWatch, EndsAndTellsTheOthersWhereAThreadCannotBeStarted) {
  for (const int refused : {1, 2}) {
    const auto store = c10::make_intrusive<c10d::HashStore>();
    refused_thread = refused;
    EXPECT_THROW(PeerWatch(store, 1, 2, true), std::system_error);
    EXPECT_EQ(refused_thread, 0);
    EXPECT_EQ(loss_at(*store), (Loss{Loss::Kind::kFailed, 1}));
  }
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
