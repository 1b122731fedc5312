// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <vector>

#include "sharding/rank.h"

namespace kvcalib {

// Runs `work` as every rank of a world, each on a thread of its own, meeting at a store that this
// function serves.
inline void run_rank_threads(int64_t world,
                             const std::function<void(const Rank&, Rendezvous&)>& work) {
  c10d::TCPStoreOptions options;
  options.port = 0;
  options.isServer = true;
  options.waitWorkers = false;
  const auto store = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);
  setenv("MASTER_ADDR", "127.0.0.1", 1);
  setenv("MASTER_PORT", std::to_string(store->getPort()).c_str(), 1);
  setenv("TORCHELASTIC_USE_AGENT_STORE", "True", 1);
  std::vector<std::thread> threads;
  for (int64_t index = 0; index < world; ++index) {
    threads.emplace_back([&work, index, world] {
      const Rank rank{index, index, world, true};
      Rendezvous rendezvous(rank);
      work(rank, rendezvous);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace kvcalib
