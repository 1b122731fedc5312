// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/launcher.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "sharding/files/error.h"
#include "sharding/files/leave_by_signal.h"
#include "sharding/ranks/heartbeats.h"
#include "sharding/ranks/launched_process.h"
#include "sharding/ranks/local_store.h"
#include "sharding/ranks/loss.h"

extern char** environ;

namespace kvcalib {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLook{5};
constexpr std::chrono::milliseconds kTick{200};
// For the other ranks to end once rank 0 has delivered.
constexpr std::chrono::seconds kGraceOnTheWayOut{5};
constexpr std::chrono::milliseconds kOwnSignal{250};
constexpr std::chrono::seconds kGraceAtASignal{8};

using Environment = std::map<std::string, std::string>;

Environment current_environment() {
  Environment environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const size_t equals = text.find('=');
    environment[std::string(text.substr(0, equals))] = text.substr(equals + 1);
  }
  return environment;
}

Environment rank_environment(int64_t rank, int64_t ranks, const std::string& store) {
  Environment environment = current_environment();
  environment["RANK"] = environment["LOCAL_RANK"] = std::to_string(rank);
  environment["WORLD_SIZE"] = environment["LOCAL_WORLD_SIZE"] = std::to_string(ranks);
  environment[LocalStore::kVariable] = store;
  environment[kLauncherVariable] = std::to_string(getpid());
  if (!environment.contains("OMP_NUM_THREADS")) {
    const int64_t cores = std::max<int64_t>(1, std::thread::hardware_concurrency());
    environment["OMP_NUM_THREADS"] = std::to_string(std::max<int64_t>(1, cores / ranks));
  }
  return environment;
}

pid_t start_rank(const std::vector<std::string>& arguments, const Environment& environment) {
  std::string program = "kvcalib";
  std::vector<char*> argv = {program.data()};
  std::vector<std::string> argument_storage = arguments;
  for (std::string& argument : argument_storage) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::vector<std::string> entries;
  for (const auto& [name, value] : environment) entries.push_back(concat(name, "=", value));
  std::vector<char*> envp;
  for (std::string& entry : entries) envp.push_back(entry.data());
  envp.push_back(nullptr);
  // Not posix_spawn: what was started is to end with this process before it does anything itself.
  const pid_t launcher = getpid();
  const pid_t process = fork();
  if (process < 0) throw Error(concat("cannot start a rank: ", std::strerror(errno)));
  if (process == 0) {
    constexpr std::string_view kFailed = "kvcalib: error: /proc/self/exe cannot be started again\n";
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == launcher) execve("/proc/self/exe", argv.data(), envp.data());
    if (write(STDERR_FILENO, kFailed.data(), kFailed.size()) < 0) _exit(1);
    _exit(1);
  }
  return process;
}

// A rank that has ended and its wait status, or rank -1.
struct End {
  int64_t rank = -1;
  int status = 0;

  bool well() const { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }
  bool for_a_peer() const { return WIFEXITED(status) && WEXITSTATUS(status) == kPeerLostExitCode; }
};

// The running ranks of a launch, by process.  Any thread.
class Ranks {
 public:
  ~Ranks() { stop(); }
  void add(pid_t process, int64_t rank) {
    const std::lock_guard lock(mutex_);
    running_[process] = {rank, std::nullopt};
  }
  bool any() {
    const std::lock_guard lock(mutex_);
    return !running_.empty();
  }

  // Waits up to `patience` for one to end.
  End wait_for_one(std::chrono::milliseconds patience) {
    const auto begin = Clock::now();
    auto last = begin;
    do {
      const auto now = Clock::now();
      const End end = look(now - std::exchange(last, now));
      if (end.rank >= 0) return end;
      std::this_thread::sleep_for(kLook);
    } while (Clock::now() < begin + patience);
    return {};
  }

  // One that a signal has stopped, for so long.  (Not its peers: those cannot tell it before it has
  // joined, nor when it holds what they need to tell.)
  std::optional<int64_t> stopped(Clock::duration time) {
    const std::lock_guard lock(mutex_);
    for (const auto& [process, one] : running_)
      if (one.stopped && *one.stopped >= time) return one.rank;
    return std::nullopt;
  }

  void send(int signal_number) {
    const std::lock_guard lock(mutex_);
    for (const auto& [process, one] : running_) kill(process, signal_number);
  }

  void stop() {
    const std::lock_guard lock(mutex_);
    for (const auto& [process, one] : running_) kill(process, SIGKILL);
    for (const auto& [process, one] : running_) waitpid(process, nullptr, 0);
    running_.clear();
  }

 private:
  struct One {
    int64_t rank = 0;
    std::optional<Clock::duration> stopped;
  };

  // What has become of the ranks in the time that has passed; of that no more counts than a beat
  // may, as this process may have been stopped together with them.
  End look(Clock::duration passed) {
    const std::lock_guard lock(mutex_);
    for (auto& [process, one] : running_)
      if (one.stopped) *one.stopped += std::min<Clock::duration>(passed, Heartbeats::kMostOfABeat);
    int status = 0;
    const pid_t process = waitpid(-1, &status, WNOHANG | WUNTRACED | WCONTINUED);
    const auto found = running_.find(process);
    if (process <= 0 || found == running_.end()) return {};
    if (WIFSTOPPED(status)) found->second.stopped = Clock::duration{0};
    if (WIFCONTINUED(status)) found->second.stopped.reset();
    if (WIFSTOPPED(status) || WIFCONTINUED(status)) return {};
    const End end{found->second.rank, status};
    running_.erase(found);
    return end;
  }

  std::mutex mutex_;
  std::map<pid_t, One> running_;
};

// What the ranks that still run get when this process is about to end by a signal: time to have got
// it themselves, as from a terminal, then the signal, also where they are stopped, then an end.
void leave_with(Ranks& ranks, int signal_number) {
  const auto wait_for_all = [&ranks](Clock::duration time) {
    for (const auto deadline = Clock::now() + time; ranks.any() && Clock::now() < deadline;)
      ranks.wait_for_one(kLook);
  };
  wait_for_all(kOwnSignal);
  ranks.send(signal_number);
  ranks.send(SIGCONT);
  wait_for_all(kGraceAtASignal);
  ranks.stop();
}

// A launch that is watched until all ranks have ended or one is lost.
class Launch {
 public:
  explicit Launch(Ranks& ranks) : ranks_(ranks) {}

  const LocalStore& store() const { return store_; }

  // Returns the exit code of the run.
  int watch() {
    while (ranks_.any() && Clock::now() < give_up_ && !failed_) {
      const End end = ranks_.wait_for_one(kTick);
      wait_if_leaving();
      if (end.rank < 0)
        look_for_losses();
      else
        judge(end);
    }
    ranks_.stop();
    if (through_ || (!failed_ && !lost_)) return 0;
    const std::string whole =
        delivered_at(store_) ? "; it had delivered before: what the run had to write is whole" : "";
    if (lost_ && !failed_) told_ = concat("error: ", loss_ ? loss_->text() : kNoReason);
    if (!told_.empty()) std::cerr << concat("kvcalib: ", told_, whole, "\n");
    return failed_.value_or(1);
  }

 private:
  static constexpr const char* kNoReason = "the ranks lost each other";

  void look_for_losses() {
    waited_ += kTick;
    if (waited_ > Heartbeats::kStarting && store_.is_empty())
      lose(Loss{Loss::Kind::kNotStarted, 0}, Clock::duration{0});
    if (through_) return;
    if (const std::optional<int64_t> rank = ranks_.stopped(Heartbeats::kSilence))
      lose(Loss{Loss::Kind::kSilent, *rank}, Clock::duration{0});
    if (done_at(store_) && (ending_ += kTick) > kGraceAfterAll)
      lose(Loss{Loss::Kind::kNotEnded, 0}, Clock::duration{0});
  }

  void judge(const End& end) {
    if (end.rank == 0 && end.well()) {
      through_ = true;  // what befalls the others on their way out is nobody's loss
      give_up_ = Clock::now() + kGraceOnTheWayOut;
    }
    if (through_ || end.well()) return;
    if (end.for_a_peer()) {
      if (!lost_) lose_by_a_peer();
    } else if (WIFEXITED(end.status)) {
      failed_ = WEXITSTATUS(end.status);  // and has said why
    } else {
      const int number = WTERMSIG(end.status);
      told_ = concat("rank ", end.rank, " was killed by signal ", number, " (", strsignal(number),
                     ")", number == SIGKILL ? "; out of memory?" : "");
      failed_ = 1;
    }
  }

  void lose_by_a_peer() {
    const std::optional<Loss> told = loss_at(store_);
    const bool failed = told && told->kind == Loss::Kind::kFailed;  // and is to say why itself
    lose(told, failed ? kGraceOfFailed : kGrace);
  }

  void lose(const std::optional<Loss>& loss, Clock::duration grace) {
    if (!std::exchange(lost_, true)) loss_ = loss;
    give_up_ = std::min(give_up_, Clock::now() + grace);
  }

  Ranks& ranks_;
  const LocalStore store_;
  Clock::duration waited_{0};  // this process, for anything to happen
  Clock::duration ending_{0};  // and for rank 0, which has nothing more to do
  Clock::time_point give_up_ = Clock::time_point::max();
  bool through_ = false;  // rank 0 is
  bool lost_ = false;     // a rank by its peers
  std::optional<Loss> loss_;
  std::optional<int> failed_;  // the exit code of a rank that failed or was killed
  std::string told_;
};

}  // namespace

int launch_ranks(int64_t ranks, const std::vector<std::string>& arguments) {
  Ranks running;
  Launch launch(running);
  const BeforeLeaving leaving([&running](int signal_number) {
    leave_with(running, signal_number);
    return std::string();
  });
  for (int64_t rank = 0; rank < ranks; ++rank)
    running.add(start_rank(arguments, rank_environment(rank, ranks, launch.store().path())), rank);
  return launch.watch();
}

}  // namespace kvcalib
