// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/leave_by_signal.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <string>

namespace kvcalib {
namespace {

// What a forked process writes to its stderr, and how it ended.
struct End {
  std::string text;
  int status = 0;
};

template <typename Action>
End end_of_child(Action action) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    ::dup2(ends[1], STDERR_FILENO);
    ::close(ends[0]);
    ::close(ends[1]);
    action();
    ::_exit(7);
  }
  ::close(ends[1]);
  End end;
  char block[4096];
  for (ssize_t got; (got = ::read(ends[0], block, sizeof block)) > 0;) {
    end.text.append(block, static_cast<size_t>(got));
  }
  ::close(ends[0]);
  ::waitpid(child, &end.status, 0);
  return end;
}

TEST(LeaveBySignal, TakesBackTheLastFirstAndEndsByThatSignal) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) {
    const End end = end_of_child([&] {
      const BeforeLeaving first([](int) { return "first"; });
      const BeforeLeaving silent([](int) { return ""; });
      const BeforeLeaving last([](int) { return "last"; });
      ::raise(number);
      wait_if_leaving();
    });
    const std::string name = ::strsignal(number);
    const std::string began = "kvcalib: stopped by signal " + std::to_string(number) + " (" + name;
    EXPECT_EQ(end.text, began + "); last\n" + began + "); first\n");
    EXPECT_TRUE(WIFSIGNALED(end.status) && WTERMSIG(end.status) == number) << number;
  }
}

TEST(LeaveBySignal, ForgetsAnActionThatIsOver) {
  const End end = end_of_child([] {
    {
      const BeforeLeaving over([](int) { return "over"; });
    }
    ::raise(SIGTERM);
    wait_if_leaving();
  });
  EXPECT_EQ(end.text, "");
  EXPECT_TRUE(WIFSIGNALED(end.status) && WTERMSIG(end.status) == SIGTERM);
}

TEST(LeaveBySignal, LeavesAnIgnoredSignalIgnored) {
  const End end = end_of_child([] {
    ::signal(SIGHUP, SIG_IGN);
    const BeforeLeaving open([](int) { return "open"; });
    ::raise(SIGHUP);
    wait_if_leaving();
  });
  EXPECT_EQ(end.text, "");
  EXPECT_TRUE(WIFEXITED(end.status) && WEXITSTATUS(end.status) == 7);
}

TEST(LeaveBySignal, EndsAtOnceByTheSecond) {
  const End end = end_of_child([] {
    const BeforeLeaving stuck([](int) -> std::string {
      while (true) ::pause();
    });
    ::raise(SIGINT);
    ::raise(SIGINT);
  });
  EXPECT_TRUE(WIFSIGNALED(end.status) && WTERMSIG(end.status) == SIGINT);
}

TEST(LeaveBySignal, TakesABrokenPipeAsAnErrorOfWriting) {
  const End end = end_of_child([] {
    ignore_signals_of_writing();
    ::raise(SIGPIPE);
    ::raise(SIGXFSZ);
  });
  EXPECT_TRUE(WIFEXITED(end.status) && WEXITSTATUS(end.status) == 7);
}

}  // namespace
}  // namespace kvcalib
