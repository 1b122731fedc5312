// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/leave_by_signal.h"

#include <semaphore.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <mutex>
#include <thread>
#include <vector>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr std::array kSignals{SIGINT, SIGTERM, SIGHUP, SIGQUIT};

std::atomic<int> noted_signal = 0;
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler writes it");
sem_t signal_came;
thread_local bool runs_the_actions = false;

void note_signal(int number) {
  const int before = errno;
  int none = 0;
  if (noted_signal.compare_exchange_strong(none, number)) sem_post(&signal_came);
  errno = before;
}

// Never destroyed: the thread outlives main.
struct Actions {
  std::mutex mutex;  // a process that leaves keeps it to its end
  std::vector<const BeforeLeaving::Action*> list;
};

Actions& actions() {
  static auto* const kActions = new Actions;
  return *kActions;
}

[[noreturn]] void leave() {
  while (sem_wait(&signal_came) != 0) continue;  // interrupted
  const int number = noted_signal;
  actions().mutex.lock();
  runs_the_actions = true;
  const auto& list = actions().list;
  for (auto action = list.rbegin(); action != list.rend(); ++action) {
    std::string told;
    try {
      told = (**action)(number);
    } catch (const std::exception& failure) {
      told = failure.what();
    }
    if (told.empty()) continue;
    std::cerr << concat("kvcalib: stopped by signal ", number, " (", strsignal(number), "); ", told,
                        "\n")
              << std::flush;
  }
  end_by_signal(number);
}

void note_signals() {
  sem_init(&signal_came, 0, 0);
  std::thread(leave).detach();
  struct sigaction action {};
  action.sa_handler = note_signal;
  action.sa_flags = static_cast<int>(SA_RESTART | SA_RESETHAND);
  for (const int number : kSignals) {
    struct sigaction before {};
    ::sigaction(number, nullptr, &before);
    if (before.sa_handler != SIG_IGN) ::sigaction(number, &action, nullptr);
  }
}

}  // namespace

BeforeLeaving::BeforeLeaving(Action action) : action_(std::move(action)) {
  if (runs_the_actions) return;
  static std::once_flag once;
  std::call_once(once, note_signals);
  const std::lock_guard lock(actions().mutex);
  actions().list.push_back(&action_);
}

BeforeLeaving::~BeforeLeaving() {
  if (runs_the_actions) return;
  const std::lock_guard lock(actions().mutex);
  std::erase(actions().list, &action_);
}

int leaving_signal() { return noted_signal; }

void wait_if_leaving() {
  while (leaving_signal() != 0) ::pause();
}

void end_by_signal(int number) {
  ::signal(number, SIG_DFL);
  sigset_t only{};
  sigemptyset(&only);
  sigaddset(&only, number);
  pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
  ::kill(::getpid(), number);
  ::raise(number);
  std::_Exit(128 + number);
}

void ignore_signals_of_writing() {
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);
}

}  // namespace kvcalib
