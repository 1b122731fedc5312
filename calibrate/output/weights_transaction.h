// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "calibrate/output/directory_lock.h"
#include "calibrate/output/output_names.h"
#include "calibrate/output/output_transaction.h"
#include "sharding/files/leave_by_signal.h"

namespace kvcalib {

// Replaces the set of results in a weights directory at once: whatever kills the process or the
// machine, a reader finds the old set or the new set, whole.
//
// Everything happens in DIR/.kvcalib-transaction, which holds next/ (the new files), previous/ (the
// old ones) and a symbolic link `current` -> previous.  commit() first replaces each file by a link
// to .kvcalib-transaction/current/NAME, which changes nothing to see (what did not exist dangles);
// then one rename points `current` at next, which changes all; then each link is replaced by the
// plain file.  recover() rolls on when `current` points at next and back when at previous.
class WeightsTransaction : public OutputTransaction {
 public:
  // Locks the directory until destruction, clears what a killed run left and stages an empty set.
  // Read what may be of a set only after this.  Throws Error with nothing changed: another kvcalib
  // is at work; there is a set already and `force` is false; a file to be replaced is no plain
  // file; the directory cannot be written or has no symbolic links.
  WeightsTransaction(const std::filesystem::path& directory, OutputNames names, bool force,
                     StepHook step = {});
  ~WeightsTransaction() override;

  using OutputTransaction::write;
  void write(std::string_view name, const FileContent& content) override;

  // Files that go with the set and were not written go; the one that is backed up is kept as
  // NAME.backup where it changes (.backup.2, ... where others exist); a file that would not change
  // is left alone; owner and permissions of a replaced file are kept.
  void commit() override;

  // Finishes or takes back what a killed run left.  Throws Error when another kvcalib is at work.
  static void recover(const std::filesystem::path& directory, const OutputNames& names,
                      const StepHook& step = {});

  // Whether a killed (or running) kvcalib left its folder here.
  static bool is_pending(const std::filesystem::path& directory);

 protected:
  std::string standing() const override;

 private:
  std::set<std::string> plan();
  void make_previous(const std::set<std::string>& affected);
  void link_all(const std::set<std::string>& affected);
  void flip();
  void check_open() const;
  void settle_quietly() noexcept;
  std::string take_back_before_leaving();

  std::filesystem::path directory_;
  std::filesystem::path folder_;  // .kvcalib-transaction
  OutputNames names_;
  StepHook step_;
  pid_t owner_;  // a forked child must not take back what its parent stages
  DirectoryLock lock_;
  std::set<std::string> written_;
  bool open_ = false;      // the folder exists and is ours to clear
  bool flipped_ = false;   // the new set is in force
  std::mutex mutex_;       // held by what must not be cut off
  BeforeLeaving leaving_;  // the last member: its action uses the others
};

}  // namespace kvcalib
