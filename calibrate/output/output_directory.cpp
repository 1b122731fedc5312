// SPDX-License-Identifier: Apache-2.0
#include "calibrate/output/output_directory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "calibrate/output/file_operations.h"
#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

constexpr int kLockAttempts = 100;

// Where the directory will be.
fs::path place_of(const fs::path& directory) {
  const fs::path path = resolved(directory);
  if (kind_behind(path.parent_path()) != FileKind::kDirectory) {
    throw Error(concat(directory.string(), ": its parent ", path.parent_path().string(),
                       " is no directory; create that first"));
  }
  return path;
}

}  // namespace

ForeignEntry foreign_to(OutputNames names) {
  return [is_ours =
              std::move(names.is_ours)](const fs::path& directory) -> std::optional<std::string> {
    for (const std::string& name : list_directory(directory)) {
      if (!is_ours(name) || !is_plain_file(directory / name)) return name;
    }
    return std::nullopt;
  };
}

OutputDirectory::OutputDirectory(const fs::path& directory, bool force, ForeignEntry foreign,
                                 StepHook step)
    : directory_(place_of(directory)),
      partial_(directory_.parent_path() /
               concat('.', directory_.filename().string(), ".kvcalib-partial")),
      previous_(directory_.parent_path() /
                concat('.', directory_.filename().string(), ".kvcalib-previous")),
      force_(force),
      foreign_(std::move(foreign)),
      step_(std::move(step)),
      owner_(::getpid()),
      leaving_([this](int) { return take_back_before_leaving(); }) {
  const std::lock_guard lock(mutex_);
  check_place();
  lock_partial();
  try {
    restore_previous();
    check_place();
    for (const std::string& name : list_directory(partial_)) remove_tree(partial_ / name);
    tell(step_, "clear the partial directory");
  } catch (...) {
    discard();
    throw;
  }
}

OutputDirectory::~OutputDirectory() {
  const std::lock_guard lock(mutex_);
  if (lock_ && ::getpid() == owner_) discard();
}

std::string OutputDirectory::standing() const {
  return concat(directory_.string(), " holds the new files all the same, whole");
}

std::string OutputDirectory::take_back_before_leaving() {
  const std::lock_guard lock(mutex_);
  if (placed_) return standing();
  if (lock_) discard();
  return concat("nothing was written to ", directory_.string());
}

// Throws Error when the directory may not be replaced by the output.
void OutputDirectory::check_place() const {
  if (!is_there(directory_)) return;
  const std::string path = directory_.string();
  if (!is_plain_directory(directory_)) {
    throw Error(concat(path, ": exists and is no directory; name a new one"));
  }
  if (is_mount_point(directory_)) {
    throw Error(concat(path, ": is a mount point, which cannot be replaced at once; name a new ",
                       "directory inside it"));
  }
  if (const std::optional<std::string> name = foreign_(directory_)) {
    throw Error(
        concat(path, ": holds '", *name, "', which is not kvcalib's; name a new directory"));
  }
  const size_t entries = list_directory(directory_).size();
  if (entries > 0 && !force_) {
    throw Error(concat(path, ": holds ", entries, " files of an earlier run; pass --force to ",
                       "replace them"));
  }
}

// Creates and locks the partial directory; another run may rename it away between the two.
void OutputDirectory::lock_partial() {
  for (int attempt = 0; attempt < kLockAttempts; ++attempt) {
    if (::mkdir(partial_.c_str(), 0755) != 0 && errno != EEXIST) {
      throw_system_error(partial_, "cannot be created");
    }
    tell(step_, "make the partial directory");
    lock_.emplace(partial_);
    if (lock_->is_of(partial_)) return;
    lock_.reset();
  }
  throw Error(concat(partial_.string(), ": another kvcalib is writing here; wait for its end"));
}

// A run without renameat2 may have been killed between its two renames.
void OutputDirectory::restore_previous() {
  if (!is_there(previous_)) return;
  if (is_there(directory_)) {
    remove_tree(previous_);
  } else {
    rename_path(previous_, directory_);
  }
}

void OutputDirectory::discard() noexcept {
  std::error_code ignored;  // the next run clears what is left
  fs::remove_all(partial_, ignored);
  if (ignored) ::rmdir(partial_.c_str());  // an empty one goes without a descriptor to list it
  lock_.reset();
}

void OutputDirectory::check_open() const {
  if (!lock_) throw Error(concat(directory_.string(), ": is not being written any more"));
}

void OutputDirectory::write(std::string_view name, const FileContent& content) {
  wait_if_leaving();
  const std::lock_guard lock(mutex_);
  check_open();
  check_file_name(name);
  write_new_file(partial_ / name, content);
  tell(step_, "write a file");
}

void OutputDirectory::write_tree(const std::function<void(const fs::path&)>& write) {
  const std::lock_guard lock(mutex_);
  check_open();
  write(partial_);
}

void OutputDirectory::commit() {
  wait_if_leaving();
  const std::lock_guard lock(mutex_);
  check_open();
  try {
    check_place();
    if (is_there(directory_)) {
      if (const auto warning = copy_permissions(directory_, partial_))
        warnings_.push_back(concat(directory_.string(), ": ", *warning));
    }
    sync_directory(partial_);
    take_place();
    sync_directory(directory_.parent_path());
  } catch (const std::exception& failure) {
    if (!placed_) throw;
    throw Error(concat(failure.what(), "; ", standing()));
  }
}

void OutputDirectory::take_place() {
  if (!is_there(directory_) || list_directory(directory_).empty()) {
    rename_path(partial_, directory_);
    placed_ = true;
    lock_.reset();
    tell(step_, "rename to the new directory");
    return;
  }
  if (exchange_paths(partial_, directory_)) {
    placed_ = true;
    lock_.reset();
    tell(step_, "exchange old and new");
    remove_tree(partial_);
    tell(step_, "remove the old directory");
    return;
  }
  replace_in_two_steps();
}

void OutputDirectory::replace_in_two_steps() {
  rename_path(directory_, previous_);
  tell(step_, "put the old directory aside");
  if (::rename(partial_.c_str(), directory_.c_str()) != 0) {
    const int reason = errno;
    rename_path(previous_, directory_);
    errno = reason;
    throw_system_error(directory_, "cannot be replaced");
  }
  placed_ = true;
  lock_.reset();
  tell(step_, "rename to the new directory");
  remove_tree(previous_);
}

}  // namespace kvcalib
