// SPDX-License-Identifier: Apache-2.0
#include "calibrate/output/directory_exchange.h"

#include <unistd.h>

#include <optional>
#include <utility>

#include "calibrate/output/file_operations.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMark = ".kvcalib-unfinished";

// The next DIR.backup.
fs::path backup_of(const fs::path& directory) {
  for (int64_t number = 1;; ++number) {
    fs::path path = concat(directory.string(), ".backup", number == 1 ? "" : concat('.', number));
    if (!is_there(path)) return path;
  }
}

fs::path exchangeable(const fs::path& directory) {
  fs::path path = resolved(directory);
  if (!is_plain_directory(path))
    throw Error(concat(directory.string(), ": no directory, expected one with weights"));
  if (is_mount_point(path))
    throw Error(concat(directory.string(), ": is a mount point, which cannot be replaced at once; ",
                       "give --output DIR"));
  return path;
}

}  // namespace

DirectoryExchange::DirectoryExchange(const fs::path& directory, StepHook step)
    : directory_(exchangeable(directory)),
      partial_(directory_.parent_path() /
               concat('.', directory_.filename().string(), ".kvcalib-exchange")),
      step_(std::move(step)),
      owner_(::getpid()),
      lock_(directory_),
      leaving_([this](int) { return take_back_before_leaving(); }) {
  const std::lock_guard lock(mutex_);
  settle();
  make_directory(partial_);
  tell(step_, "make the folder");
  open_ = true;
  try {
    write_new_file(partial_ / kMark, std::string_view());
    sync_directory(partial_);
    tell(step_, "mark it");
    probe();
  } catch (...) {
    discard();
    throw;
  }
}

DirectoryExchange::~DirectoryExchange() {
  const std::lock_guard lock(mutex_);
  if (open_ && ::getpid() == owner_) discard();
}

// Now rather than behind hours of writing.
void DirectoryExchange::probe() {
  const fs::path one = partial_ / "one", other = partial_ / "other";
  make_directory(one);
  make_directory(other);
  const bool can_exchange = exchange_paths(one, other);
  remove_tree(one);
  remove_tree(other);
  if (!can_exchange)
    throw Error(concat(directory_.string(), ": its file system cannot exchange two directories at ",
                       "once; give --output DIR"));
}

// Finishes or clears what a killed run left.
void DirectoryExchange::settle() {
  if (is_there(directory_ / kMark)) {
    remove_file(directory_ / kMark);
    sync_directory(directory_);
  }
  if (!is_there(partial_)) return;
  if (is_there(partial_ / kMark) || list_directory(partial_).empty())
    clear_partial();
  else
    keep_previous();
}

// The mark goes last: what has none is an old directory.
void DirectoryExchange::clear_partial() {
  for (const std::string& name : list_directory(partial_)) {
    if (name == kMark) continue;
    remove_tree(partial_ / name);
    tell(step_, concat("remove ", name));
  }
  sync_directory(partial_);
  remove_file(partial_ / kMark);
  tell(step_, "remove the mark of the new directory");
  remove_tree(partial_);
}

void DirectoryExchange::keep_previous() {
  const fs::path backup = backup_of(directory_);
  rename_path(partial_, backup);
  backup_ = backup;
  sync_directory(directory_.parent_path());
  tell(step_, "keep the old directory");
}

void DirectoryExchange::discard() noexcept {
  open_ = false;
  try {
    clear_partial();
  } catch (const std::exception&) {
    // The next run tries again.
  }
}

std::string DirectoryExchange::standing() const {
  const fs::path& old = backup_.empty() ? partial_ : backup_;
  return concat(directory_.string(), " holds the new files all the same, whole, and ", old.string(),
                " the old ones");
}

std::string DirectoryExchange::take_back_before_leaving() {
  const std::lock_guard lock(mutex_);
  if (exchanged_) return standing();
  if (open_) discard();
  return concat("the files of ", directory_.string(), " are as they were");
}

void DirectoryExchange::write_tree(const std::function<void(const fs::path&)>& write) {
  wait_if_leaving();
  const std::lock_guard lock(mutex_);
  write(partial_);
}

void DirectoryExchange::commit() {
  wait_if_leaving();
  const std::lock_guard lock(mutex_);
  try {
    if (const auto warning = copy_permissions(directory_, partial_))
      warnings_.push_back(concat(directory_.string(), ": ", *warning));
    sync_directory(partial_);
    sync_directory(directory_.parent_path());
    if (!exchange_paths(partial_, directory_))
      throw Error(concat(directory_.string(), ": cannot be exchanged; give --output DIR"));
    exchanged_ = true;
    open_ = false;
    sync_directory(directory_.parent_path());
    tell(step_, "exchange old and new");
    remove_file(directory_ / kMark);
    sync_directory(directory_);
    tell(step_, "remove the mark");
    keep_previous();
  } catch (const std::exception& failure) {
    if (!exchanged_) throw;
    throw Error(concat(failure.what(), "; ", standing()));
  }
}

}  // namespace kvcalib
