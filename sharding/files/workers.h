// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace kvcalib {

// Calls run(worker, item) for every item of [0, items), each worker [0, workers) on a thread of its
// own taking the next item as it comes; the caller is worker 0.  `run` returns whether to go on.
// Rethrows the first exception when all have stopped.
template <typename Run>
void run_workers(size_t items, int64_t workers, const Run& run) {
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&](int64_t worker) {
    try {
      for (size_t item = next++; item < items; item = next++) {
        if (!run(worker, item)) return;
      }
    } catch (...) {
      next = items;
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> others;
    for (int64_t worker = 1; worker < workers; ++worker) others.emplace_back(work, worker);
    work(0);
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace kvcalib
