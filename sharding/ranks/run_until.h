// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <future>
#include <thread>
#include <utility>

namespace kvcalib {

// From now on the process ends (by exit, or a return from main) without destroying what a thread
// that is left behind may use.
void end_without_destruction();

// Runs `work`, which may hang in a library, on a thread of its own.  At `deadline` that is left
// behind: it must use nothing that does not live as long as the process.  Returns what comes of it,
// ready or not; throws std::system_error where no thread can be started.
template <typename Result>
std::future<Result> run_until(std::chrono::steady_clock::time_point deadline,
                              std::function<Result()> work) {
  std::packaged_task<Result()> task(std::move(work));
  std::future<Result> result = task.get_future();
  std::thread(std::move(task)).detach();
  if (result.wait_until(deadline) != std::future_status::ready) end_without_destruction();
  return result;
}

}  // namespace kvcalib
