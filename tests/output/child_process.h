// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <string>
#include <string_view>

#include "calibrate/output/output_transaction.h"

namespace kvcalib {

// Runs action(hook) in a forked process that is killed (SIGKILL) at its step number `step`,
// counted from 0.  False when it ended before it came to that step.
template <typename Action>
bool is_killed_at(int64_t step, Action action) {
  const pid_t child = ::fork();
  if (child == 0) {
    int64_t steps = 0;
    try {
      action([&](std::string_view) {
        if (steps++ == step) ::kill(::getpid(), SIGKILL);
      });
    } catch (...) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return true;
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "the action failed";
  return false;
}

// What `action` returns, run in a forked process: for what would change this one.
template <typename Action>
std::string text_from_child(Action action) {
  int ends[2];
  if (::pipe(ends) != 0) return "no pipe";
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string text = action();
    const bool sent = ::write(ends[1], text.data(), text.size()) >= 0;
    ::_exit(sent ? 0 : 1);
  }
  ::close(ends[1]);
  std::string text;
  char block[4096];
  for (ssize_t got; (got = ::read(ends[0], block, sizeof block)) > 0;) {
    text.append(block, static_cast<size_t>(got));
  }
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  return text;
}

}  // namespace kvcalib
