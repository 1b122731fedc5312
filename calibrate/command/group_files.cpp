// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/group_files.h"

#include <limits>
#include <utility>

#include "calibrate/output/file_operations.h"
#include "sharding/files/error.h"
#include "sharding/files/metadata_file.h"
#include "sharding/files/ranged_file.h"
#include "sharding/files/sha256.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

constexpr size_t kDigest = 64;  // hexadecimal digits of a SHA-256
constexpr uint64_t kLargestGroup = uint64_t{64} << 30;

fs::path folder_beside(const fs::path& output) {
  const fs::path whole = fs::absolute(output).lexically_normal();
  const fs::path directory = whole.has_filename() ? whole : whole.parent_path();
  return directory.parent_path() /
         concat(".", directory.filename().string(), ".kvcalib-groups");
}

}  // namespace

GroupFiles::GroupFiles(const fs::path& output, std::string request, bool resume)
    : folder_(folder_beside(output)), request_(std::move(request)) {
  if (!resume) remove();
}

fs::path GroupFiles::file_of(size_t group) const { return folder_ / std::to_string(group); }

std::optional<std::string> GroupFiles::find(size_t group) const {
  const fs::path file = file_of(group);
  if (!is_file_there(file)) return std::nullopt;
  std::string bytes = read_metadata_file(file, kLargestGroup);
  if (bytes.size() < 2 * kDigest || bytes.substr(0, kDigest) != request_)
    throw Error(concat(file.string(), ": was kept of another evaluation (of other weights, scales, ",
                       "data, options, devices or another version of this program); run without ",
                       "--resume"));
  const std::string digest = bytes.substr(kDigest, kDigest);
  bytes.erase(0, 2 * kDigest);
  if (sha256_hex(bytes) != digest)
    throw Error(concat(file.string(), ": is damaged; take it away and run again"));
  return bytes;
}

// Written under another name first: under its own it is whole.
void GroupFiles::keep(size_t group, std::string_view bytes) const {
  if (!is_there(folder_)) make_directory(folder_);
  const fs::path file = file_of(group);
  const fs::path partial = fs::path(file).concat(".partial");
  remove_file(partial);
  write_new_file(partial, concat(request_, sha256_hex(bytes), bytes));
  rename_path(partial, file);
  sync_directory(folder_);
}

void GroupFiles::remove() const { remove_tree(folder_); }

}  // namespace kvcalib
