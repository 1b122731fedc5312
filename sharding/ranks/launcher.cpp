// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/launcher.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <optional>
#include <thread>
#include <torch/csrc/distributed/c10d/FileStore.hpp>
#include <utility>

#include "sharding/files/error.h"
#include "sharding/ranks/launched_process.h"
#include "sharding/ranks/local_store.h"
#include "sharding/ranks/loss.h"

extern char** environ;

namespace kvcalib {
namespace {

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
  pid_t process = 0;
  const int failure =
      posix_spawn(&process, "/proc/self/exe", nullptr, nullptr, argv.data(), envp.data());
  if (failure != 0) throw Error(concat("cannot start a rank: ", std::strerror(failure)));
  return process;
}

// The running ranks of a launch, by process.
class Ranks {
 public:
  ~Ranks() { stop(); }
  void add(pid_t process, int64_t rank) { running_[process] = rank; }
  bool any() const { return !running_.empty(); }

  // Waits up to `patience` for one to end.  Returns its number and wait status, or rank -1.
  std::pair<int64_t, int> wait_for_one(std::chrono::milliseconds patience) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    do {
      int status = 0;
      const pid_t process = waitpid(-1, &status, WNOHANG);
      if (process > 0 && running_.contains(process)) {
        const int64_t rank = running_[process];
        running_.erase(process);
        return {rank, status};
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    } while (std::chrono::steady_clock::now() < deadline);
    return {-1, 0};
  }

  void stop() {
    for (const auto& [process, rank] : running_) kill(process, SIGKILL);
    for (const auto& [process, rank] : running_) waitpid(process, nullptr, 0);
    running_.clear();
  }

 private:
  std::map<pid_t, int64_t> running_;
};

// The exit code that a rank's end means for the run; says what no rank could say itself.
int judge(int64_t rank, int status) {
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  const int signal_number = WTERMSIG(status);
  std::cerr << "kvcalib: rank " << rank << " was killed by signal " << signal_number << " ("
            << strsignal(signal_number) << ")"
            << (signal_number == SIGKILL ? "; out of memory?" : "") << "\n";
  return 1;
}

// For the peer to be seen dead, or to say itself what is wrong.
std::chrono::seconds grace_of(const std::optional<Loss>& loss) {
  return loss && loss->kind == Loss::Kind::kFailed ? kGraceOfFailed : kGrace;
}

}  // namespace

int launch_ranks(int64_t ranks, const std::vector<std::string>& arguments) {
  const LocalStore store;

  Ranks running;
  for (int64_t rank = 0; rank < ranks; ++rank)
    running.add(start_rank(arguments, rank_environment(rank, ranks, store.path())), rank);
  bool delivered =
      false;  // rank 0 is through: what befalls the others on their way out is nobody's loss
  bool lost = false;
  std::optional<Loss> loss;
  auto give_up = std::chrono::steady_clock::time_point::max();
  while (running.any() && std::chrono::steady_clock::now() < give_up) {
    const auto [rank, status] = running.wait_for_one(std::chrono::milliseconds(200));
    if (rank == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) delivered = true;
    if (rank < 0 || delivered || (WIFEXITED(status) && WEXITSTATUS(status) == 0)) continue;
    if (WIFEXITED(status) && WEXITSTATUS(status) == kPeerLostExitCode) {
      if (std::exchange(lost, true)) continue;
      loss = loss_at(*c10::make_intrusive<c10d::FileStore>(store.path(), -1));
      give_up = std::chrono::steady_clock::now() + grace_of(loss);
      continue;
    }
    return judge(rank, status);  // the others are stopped on the way out
  }
  if (delivered || !lost) return 0;
  std::cerr << concat("kvcalib: error: ", loss ? loss->text() : "the ranks lost each other", "\n");
  return 1;
}

}  // namespace kvcalib
