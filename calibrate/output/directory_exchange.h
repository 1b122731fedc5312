// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "calibrate/output/directory_lock.h"
#include "calibrate/output/output_transaction.h"
#include "sharding/files/leave_by_signal.h"

namespace kvcalib {

// Puts a new directory in the place of one that is there, at once: whatever kills the process or
// the machine, the path leads to the old files or to the new ones, whole.  The old directory is
// kept as DIR.backup (.backup.2, ... where others exist).
//
// The new one is made beside it as .DIR.kvcalib-exchange, with a file in it that says so; then both
// are exchanged (renameat2, RENAME_EXCHANGE), that file goes, and what is now in
// .DIR.kvcalib-exchange is renamed to the backup.  So without that file a folder of this name is an
// old directory, which the next exchange keeps; with it, one that was never finished, which it
// removes.
class DirectoryExchange final {
 public:
  // Locks the directory until destruction, finishes or clears what a killed run left, and makes an
  // empty new one.  Throws Error with nothing changed: no directory, or a mount point; another
  // kvcalib is at work; no permission beside it; a file system that cannot exchange directories.
  explicit DirectoryExchange(const std::filesystem::path& directory, StepHook step = {});
  ~DirectoryExchange();
  DirectoryExchange(const DirectoryExchange&) = delete;
  DirectoryExchange& operator=(const DirectoryExchange&) = delete;

  // Calls `write` with the new directory.  The process does not leave by a signal before it has
  // returned, or thrown, which it should do soon once leaving_signal() is one.
  void write_tree(const std::function<void(const std::filesystem::path& partial)>& write);
  // Throws Error with nothing changed, or, where the new directory is in force all the same, saying
  // so.
  void commit();
  // As OutputTransaction's.
  void after_commit(const std::function<void()>& rest) const {
    run_after_commit(rest, [this] { return standing(); });
  }
  const std::vector<std::string>& warnings() const { return warnings_; }

  // Where the old directory is, after commit().
  const std::filesystem::path& backup() const { return backup_; }

 private:
  void probe();
  void settle();
  void clear_partial();
  void keep_previous();
  void discard() noexcept;
  std::string standing() const;
  std::string take_back_before_leaving();

  std::filesystem::path directory_;
  std::filesystem::path partial_;  // .DIR.kvcalib-exchange
  std::filesystem::path backup_;
  StepHook step_;
  pid_t owner_;  // a forked child must not take back what its parent stages
  DirectoryLock lock_;
  std::vector<std::string> warnings_;
  bool open_ = false;       // the new directory is ours to clear
  bool exchanged_ = false;  // it is in force
  std::mutex mutex_;        // held by what must not be cut off
  BeforeLeaving leaving_;   // the last member: its action uses the others
};

}  // namespace kvcalib
