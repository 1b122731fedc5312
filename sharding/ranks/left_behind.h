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

// Starts `work`, which may hang in a library, on a thread of its own, to be left behind where it
// does: it must use nothing that does not live as long as the process.  Throws std::system_error
// where no thread can be started.
template <typename Result>
std::future<Result> start_apart(std::function<Result()> work) {
  std::packaged_task<Result()> task(std::move(work));
  std::future<Result> result = task.get_future();
  std::thread(std::move(task)).detach();
  return result;
}

// Waits until `deadline` for work that was started so, and leaves it behind then.  Returns whether
// it has ended.
template <typename Result>
bool has_ended_by(std::chrono::steady_clock::time_point deadline,
                  const std::future<Result>& result) {
  if (result.wait_until(deadline) == std::future_status::ready) return true;
  end_without_destruction();
  return false;
}

}  // namespace kvcalib
