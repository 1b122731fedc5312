// SPDX-License-Identifier: Apache-2.0
#include "calibrate/output/weights_transaction.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "calibrate/output/file_operations.h"
#include "sharding/files/error.h"
#include "sharding/files/metadata_file.h"
#include "sharding/files/ranged_file.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFolder = ".kvcalib-transaction";
constexpr const char* kNext = "next";
constexpr const char* kPrevious = "previous";
constexpr const char* kCurrent = "current";  // symbolic link to one of the two
constexpr const char* kScratch = "scratch";  // what is about to be renamed to its place
constexpr size_t kProbeBytes = 65536;

std::string link_text(const std::string& name) { return concat(kFolder, '/', kCurrent, '/', name); }

// Names in `directory` that are links into the transaction's folder.
std::vector<std::string> linked_names(const fs::path& directory) {
  std::vector<std::string> names = list_directory(directory);
  std::erase_if(names, [&](const std::string& name) {
    return link_target(directory / name) != link_text(name);
  });
  return names;
}

// Replaces the link `name` by what it shows: a plain file, or nothing.
void settle_name(const fs::path& directory, const fs::path& source, const std::string& name,
                 const StepHook& step) {
  const fs::path scratch = directory / kFolder / kScratch;
  if (is_there(source / name)) {
    remove_file(scratch);
    tell(step, concat("clear the scratch name for ", name));
    duplicate_file(source / name, scratch);
    tell(step, concat("duplicate ", name));
    rename_path(scratch, directory / name);
    tell(step, concat("make ", name, " a plain file"));
  } else {
    remove_file(directory / name);
    tell(step, concat("remove the link ", name));
  }
}

void clear_part(const fs::path& part, const StepHook& step) {
  if (!is_there(part)) return;
  for (const std::string& name : list_directory(part)) {
    remove_file(part / name);
    tell(step, concat("remove ", name));
  }
}

void remove_folder(const fs::path& directory, const StepHook& step) {
  const fs::path folder = directory / kFolder;
  clear_part(folder / kNext, step);
  clear_part(folder / kPrevious, step);
  remove_tree(folder);
  tell(step, "remove the folder");
  sync_directory(directory);
}

// Finishes what `current` says, from whatever state; the lock is held.
void settle(const fs::path& directory, const OutputNames& names, const StepHook& step) {
  const fs::path folder = directory / kFolder;
  const std::vector<std::string> links = linked_names(directory);
  if (!is_there(folder) && links.empty()) return;
  if (!links.empty()) {
    const std::optional<std::string> current = link_target(folder / kCurrent);
    if (current != kNext && current != kPrevious) {
      throw Error(concat((directory / links.front()).string(), ": links into ", folder.string(),
                         ", which has no ", kCurrent, "; restore that folder, or put back ",
                         names.backed_up, " and the ", names.set, " by hand"));
    }
    sync_directory(folder);  // the direction must not be forgotten once the other part is gone
    // What is not needed goes first: it may be what fills the disk.
    clear_part(folder / (current == kNext ? kPrevious : kNext), step);
    for (const std::string& name : links) settle_name(directory, folder / *current, name, step);
    sync_directory(directory);
    tell(step, "bring the plain files to the disk");
  }
  remove_folder(directory, step);
}

// The next NAME.backup; nothing when one of them holds the same bytes already.
std::optional<std::string> backup_name(const fs::path& directory, const std::string& name) {
  const std::string bytes = read_metadata_file(directory / name);
  for (int64_t number = 1;; ++number) {
    const std::string backup = concat(name, ".backup", number == 1 ? "" : concat('.', number));
    if (!is_there(directory / backup)) return backup;
    if (is_plain_file(directory / backup) && read_metadata_file(directory / backup) == bytes) {
      return std::nullopt;
    }
  }
}

void check_existing(const fs::path& directory, const OutputNames& names, bool force) {
  const std::vector<std::string> present = list_directory(directory);
  const auto earlier = std::count_if(present.begin(), present.end(), names.tells_of_a_set);
  if (earlier > 0 && !force) {
    throw Error(concat(directory.string(), ": has ", earlier, " ", names.set,
                       " already; pass --force to replace them"));
  }
  for (const std::string& name : present) {
    if (!names.is_ours(name)) continue;
    if (!is_plain_file(directory / name)) {
      throw Error(concat((directory / name).string(), ": is no plain file, and would have to be ",
                         "replaced; put a plain file in its place, or use --output"));
    }
    const RangedFile compared_at_the_end(directory / name);  // fails now rather than then
  }
}

}  // namespace

WeightsTransaction::WeightsTransaction(const fs::path& directory, OutputNames names, bool force,
                                       StepHook step)
    : directory_(directory),
      folder_(directory / kFolder),
      names_(std::move(names)),
      step_(std::move(step)),
      owner_(::getpid()),
      lock_(directory),
      leaving_([this](int) { return take_back_before_leaving(); }) {
  const std::lock_guard lock(mutex_);
  settle(directory_, names_, step_);
  check_existing(directory_, names_, force);
  make_directory(folder_);
  open_ = true;
  try {
    tell(step_, "make the folder");
    make_directory(folder_ / kNext);
    make_directory(folder_ / kPrevious);
    tell(step_, "make next and previous");
    make_symbolic_link(kPrevious, folder_ / kCurrent);
    tell(step_, "point current at previous");
    write_new_file(folder_ / kScratch, std::string(kProbeBytes, '\0'));
    remove_file(folder_ / kScratch);
  } catch (...) {
    settle_quietly();
    throw;
  }
}

WeightsTransaction::~WeightsTransaction() {
  const std::lock_guard lock(mutex_);
  if (open_ && ::getpid() == owner_) settle_quietly();
}

void WeightsTransaction::settle_quietly() noexcept {
  open_ = false;
  try {
    settle(directory_, names_, {});
  } catch (const std::exception&) {
    // The next run tries again; readers see one whole set in any case.
  }
}

std::string WeightsTransaction::standing() const {
  return concat(directory_.string(), ": the new ", names_.set, " and ", names_.backed_up,
                " are in force all the same");
}

std::string WeightsTransaction::take_back_before_leaving() {
  const std::lock_guard lock(mutex_);
  if (open_) settle_quietly();
  return flipped_ ? standing() : concat("the files of ", directory_.string(), " are as they were");
}

void WeightsTransaction::check_open() const {
  if (!open_) throw Error(concat(directory_.string(), ": is not being written any more"));
}

void WeightsTransaction::write(std::string_view name, const FileContent& content) {
  wait_if_leaving();
  const std::lock_guard lock(mutex_);
  check_open();
  check_file_name(name);
  const fs::path staged = folder_ / kNext / name;
  write_new_file(staged, content);
  if (is_there(directory_ / name)) {
    if (const auto warning = copy_permissions(directory_ / name, staged))
      warnings_.push_back(concat((directory_ / name).string(), ": ", *warning));
  }
  written_.emplace(name);
  tell(step_, concat("write ", name));
}

// The names that change: written with other bytes, or going with the set and not written.
std::set<std::string> WeightsTransaction::plan() {
  std::set<std::string> affected;
  for (const std::string& name : written_) {
    if (is_there(directory_ / name) &&
        read_metadata_file(directory_ / name) == read_metadata_file(folder_ / kNext / name)) {
      remove_file(folder_ / kNext / name);
    } else {
      affected.insert(name);
    }
  }
  for (const std::string& name : list_directory(directory_)) {
    if (names_.goes_with_the_set(name) && !written_.contains(name)) affected.insert(name);
  }
  const std::string& kept = names_.backed_up;
  if (affected.contains(kept) && is_there(directory_ / kept)) {
    if (const std::optional<std::string> backup = backup_name(directory_, kept)) {
      duplicate_file(directory_ / kept, folder_ / kNext / *backup);
      affected.insert(*backup);
      tell(step_, concat("stage ", *backup));
    }
  }
  return affected;
}

void WeightsTransaction::make_previous(const std::set<std::string>& affected) {
  for (const std::string& name : affected) {
    if (!is_there(directory_ / name)) continue;
    duplicate_file(directory_ / name, folder_ / kPrevious / name);
    tell(step_, concat("keep ", name));
  }
  for (const fs::path& part : {folder_ / kNext, folder_ / kPrevious, folder_, directory_}) {
    sync_directory(part);
  }
}

void WeightsTransaction::link_all(const std::set<std::string>& affected) {
  for (const std::string& name : affected) {
    make_symbolic_link(link_text(name), folder_ / kScratch);
    tell(step_, concat("make the link ", name));
    rename_path(folder_ / kScratch, directory_ / name);
    tell(step_, concat("put the link ", name, " in place"));
  }
  sync_directory(directory_);
}

void WeightsTransaction::flip() {
  make_symbolic_link(kNext, folder_ / kScratch);
  tell(step_, "make the link next");
  rename_path(folder_ / kScratch, folder_ / kCurrent);
  flipped_ = true;
  tell(step_, "point current at next");
  sync_directory(folder_);
}

void WeightsTransaction::commit() {
  wait_if_leaving();
  const std::lock_guard lock(mutex_);
  check_open();
  try {
    const std::set<std::string> affected = plan();
    make_previous(affected);
    link_all(affected);
    flip();
    settle(directory_, names_, step_);
    open_ = false;
  } catch (const std::exception& failure) {
    settle_quietly();
    if (!flipped_) throw;
    throw Error(concat(failure.what(), "; ", standing(), ", and the next run clears what is left"));
  }
}

void WeightsTransaction::recover(const fs::path& directory, const OutputNames& names,
                                 const StepHook& step) {
  const DirectoryLock lock(directory);
  settle(directory, names, step);
}

bool WeightsTransaction::is_pending(const fs::path& directory) {
  return is_there(directory / kFolder);
}

}  // namespace kvcalib
