// SPDX-License-Identifier: Apache-2.0
// Loaded by LD_PRELOAD: stops the rank KVCALIB_STOP_RANK (SIGSTOP), once, at the moment of a run
// that KVCALIB_STOP_AT names, so that a test can leave it so, kill it there or let it go on (with
// KVCALIB_STOP_FOR_EVER: to hang there, until it is killed):
//   start       before it is a rank at all
//   meeting     inside its third message to the other ranks, whose file it has locked
//   reading     before it opens a file of the sixth layer
//   reducing    while it waits for the others with what it has observed
//   delivering  before it writes the first scale file
//   exit        when all is done
#include <fcntl.h>
#include <sched.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdarg>
#include <cstdlib>
#include <string>
#include <string_view>

#include "tests/cli/interposed_calls.h"

using interposed::next;
using interposed::path_of;

namespace {

bool is_meant(std::string_view moment) {
  const char* const rank = std::getenv("RANK");
  const char* const meant = std::getenv("KVCALIB_STOP_RANK");
  const char* const at = std::getenv("KVCALIB_STOP_AT");
  return rank != nullptr && meant != nullptr && at != nullptr && std::string_view(rank) == meant &&
         moment == at;
}

void stop_at(std::string_view moment) {
  static std::atomic<bool> stopped{false};
  if (!is_meant(moment) || stopped.exchange(true)) return;
  ::raise(SIGSTOP);
  while (std::getenv("KVCALIB_STOP_FOR_EVER") != nullptr) ::pause();
}

__attribute__((constructor)) void start() { stop_at("start"); }
__attribute__((destructor)) void leave() { stop_at("exit"); }

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  const std::string_view name(path);
  if (name.find("/layers.5.") != std::string_view::npos) stop_at("reading");
  if ((flags & O_CREAT) != 0 && name.find("past_kv_scale") != std::string_view::npos)
    stop_at("delivering");
  return next(::open, "open")(path, flags, mode);
}

ssize_t write(int descriptor, const void* bytes, size_t count) {
  static std::atomic<int> messages{0};
  if (is_meant("meeting") && path_of(descriptor).find("kvcalib-ranks") != std::string::npos &&
      ++messages == 3)
    stop_at("meeting");
  return next(::write, "write")(descriptor, bytes, count);
}

int sched_yield() noexcept {
  if (::getpid() == ::gettid()) stop_at("reducing");
  return next(::sched_yield, "sched_yield")();
}

}  // extern "C"
