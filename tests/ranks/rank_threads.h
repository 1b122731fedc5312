// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "sharding/ranks/local_store.h"
#include "sharding/ranks/rendezvous.h"

namespace kvcalib {

// Runs `work` as every rank of a world, each on a thread of its own, meeting at a store that this
// function serves.
inline void run_rank_threads(int64_t world,
                             const std::function<void(const Rank&, Rendezvous&)>& work) {
  const LocalStore store;
  setenv(LocalStore::kVariable, store.path().c_str(), 1);
  std::vector<std::thread> threads;
  for (int64_t index = 0; index < world; ++index) {
    threads.emplace_back([&work, index, world] {
      const Rank rank{index, index, world, true};
      Rendezvous rendezvous(rank);
      work(rank, rendezvous);
    });
  }
  for (std::thread& thread : threads) thread.join();
  unsetenv(LocalStore::kVariable);
}

}  // namespace kvcalib
