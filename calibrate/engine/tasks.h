// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <atomic>
#include <cstdint>
#include <optional>

namespace kvcalib {

// Tasks [0, count) that threads take as they come, since others may use the processor beside us.
class TaskQueue {
 public:
  explicit TaskQueue(int64_t count) : count_(count) {}
  // Nothing when all are taken.
  std::optional<int64_t> next() {
    const int64_t task = next_++;
    return task < count_ ? std::optional(task) : std::nullopt;
  }

 private:
  const int64_t count_;
  std::atomic<int64_t> next_{0};
};

// Calls run(queue) on as many threads as Torch has for one operation, or on fewer: each is to take
// tasks until there are none.
template <typename Run>
void share_tasks(int64_t count, const Run& run) {
  TaskQueue queue(count);
  at::parallel_for(0, at::get_num_threads(), 1, [&](int64_t /*begin*/, int64_t /*end*/) {
    const c10::InferenceMode inference;  // thread-local
    run(queue);
  });
}

}  // namespace kvcalib
