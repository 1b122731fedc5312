// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string_view>

#include "calibrate/output/directory_lock.h"
#include "calibrate/output/output_transaction.h"

namespace kvcalib {

// A new directory of output files, written beside its place as .NAME.kvcalib-partial and renamed.
class OutputDirectory : public OutputTransaction {
 public:
  // Clears what a killed run left and creates the partial directory.  Throws Error with nothing
  // changed: no parent; `directory` exists and is not an empty directory (with `force`: holds
  // another file than kvcalib writes); it is a mount point; another kvcalib writes it; no
  // permission.
  OutputDirectory(const std::filesystem::path& directory, bool force, StepHook step = {});
  ~OutputDirectory() override;

  void write(std::string_view name, std::string_view bytes) override;
  void commit() override;

 private:
  void lock_partial();
  void restore_previous();
  void take_place();
  void replace_in_two_steps();
  void discard() noexcept;

  std::filesystem::path directory_;
  std::filesystem::path partial_;   // the sibling being written
  std::filesystem::path previous_;  // where an old directory waits for its end
  bool force_;
  StepHook step_;
  pid_t owner_;                        // a forked child must not take back what its parent stages
  std::optional<DirectoryLock> lock_;  // of partial_
};

// Whether kvcalib writes files of that name into an output directory.
bool is_output_file_name(std::string_view name);

}  // namespace kvcalib
