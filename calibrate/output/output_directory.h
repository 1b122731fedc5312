// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "calibrate/output/directory_lock.h"
#include "calibrate/output/output_names.h"
#include "calibrate/output/output_transaction.h"
#include "sharding/files/leave_by_signal.h"

namespace kvcalib {

// Something in an existing directory that this output does not consist of, if there is any: what
// holds it is not replaced.
using ForeignEntry =
    std::function<std::optional<std::string>(const std::filesystem::path& directory)>;

// What says the first entry that is not a plain file of that set.
ForeignEntry foreign_to(OutputNames names);

// A new directory of output files, written beside its place as .NAME.kvcalib-partial and renamed.
class OutputDirectory : public OutputTransaction {
 public:
  // Clears what a killed run left and creates the partial directory.  Throws Error with nothing
  // changed: no parent; `directory` exists and is not an empty directory (with `force`: holds
  // something foreign); it is a mount point; another kvcalib writes it; no
  // permission.
  OutputDirectory(const std::filesystem::path& directory, bool force, ForeignEntry foreign,
                  StepHook step = {});
  ~OutputDirectory() override;

  using OutputTransaction::write;
  void write(std::string_view name, const FileContent& content) override;
  // Stages a whole tree: `write` is called with the folder in which the files are until commit().
  // The process does not leave by a signal before it has returned, or thrown, which it should do
  // soon once leaving_signal() is one.
  void write_tree(const std::function<void(const std::filesystem::path& partial)>& write);
  void commit() override;

 protected:
  std::string standing() const override;

 private:
  void check_place() const;
  void lock_partial();
  void restore_previous();
  void take_place();
  void replace_in_two_steps();
  void check_open() const;
  void discard() noexcept;
  std::string take_back_before_leaving();

  std::filesystem::path directory_;
  std::filesystem::path partial_;   // the sibling being written
  std::filesystem::path previous_;  // where an old directory waits for its end
  bool force_;
  ForeignEntry foreign_;
  StepHook step_;
  pid_t owner_;                        // a forked child must not take back what its parent stages
  std::optional<DirectoryLock> lock_;  // of partial_
  bool placed_ = false;                // the new files are where they belong
  std::mutex mutex_;                   // held by what must not be cut off
  BeforeLeaving leaving_;              // the last member: its action uses the others
};

}  // namespace kvcalib
