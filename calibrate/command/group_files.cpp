// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/group_files.h"

#include <charconv>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <utility>

#include "calibrate/output/file_operations.h"
#include "sharding/files/error.h"
#include "sharding/files/metadata_file.h"
#include "sharding/files/sha256.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

constexpr size_t kDigest = 64;  // hexadecimal digits of a SHA-256
constexpr std::string_view kPartial = ".partial", kAnswers = "answers-";
constexpr uint64_t kLargestGroup = uint64_t{64} << 30;

fs::path folder_beside(const fs::path& output) {
  const fs::path directory = resolved(output);
  return directory.parent_path() / concat(".", directory.filename().string(), ".kvcalib-groups");
}

// "FIRST-LAST"; nothing for another name.
std::optional<TreeGroup> trees_of_name(const std::string& name) {
  TreeGroup trees;
  const char* const end = name.data() + name.size();
  const auto first = std::from_chars(name.data(), end, trees.first);
  if (first.ec != std::errc{} || first.ptr == end || *first.ptr != '-') return std::nullopt;
  const auto last = std::from_chars(first.ptr + 1, end, trees.last);
  if (last.ec != std::errc{} || last.ptr != end || trees.last <= trees.first) return std::nullopt;
  return trees;
}

bool is_of_answers(std::string_view name) {
  if (!name.starts_with(kAnswers)) return false;
  name.remove_prefix(kAnswers.size());
  size_t place = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), place);
  return error == std::errc{} && end == name.data() + name.size();
}

bool is_whole(const std::string& name) {
  return trees_of_name(name).has_value() || is_of_answers(name);
}

bool is_ours(std::string_view name) {
  if (name.ends_with(kPartial)) name.remove_suffix(kPartial.size());
  return is_whole(std::string(name));
}

std::string name_of(const TreeGroup& trees) { return concat(trees.first, "-", trees.last); }
std::string name_of_answers(size_t place) { return concat(kAnswers, place); }

// A file that was renamed is damaged too.
std::string digest_of(const std::string& name, std::string_view content) {
  const std::string line = name + "\n";
  Sha256 digest;
  digest.update(std::as_bytes(std::span(line)));
  digest.update(std::as_bytes(std::span(content)));
  return digest.hex();
}

}  // namespace

GroupFiles::GroupFiles(const fs::path& output, std::string request, bool resume)
    : folder_(folder_beside(output)), request_(std::move(request)) {
  if (!is_there(folder_)) return;
  int64_t parts = 0;
  for (const std::string& name : list_directory(folder_)) {
    if (!is_ours(name) || !is_plain_file(folder_ / name))
      throw Error(concat((folder_ / name).string(),
                         ": is not kvcalib's, in a folder that it keeps ",
                         "finished parts in and removes at the end; take it away"));
    parts += is_whole(name) ? 1 : 0;
  }
  if (resume) return;
  dropped_ = parts;
  remove();
}

std::string GroupFiles::read(const std::string& name) const {
  const fs::path file = folder_ / name;
  std::string bytes = read_metadata_file(file, kLargestGroup);
  const auto refuse_damaged = [&file](bool is_damaged) {
    if (is_damaged) throw Error(concat(file.string(), ": is damaged; take it away and run again"));
  };
  refuse_damaged(bytes.size() < 2 * kDigest);
  if (bytes.substr(0, kDigest) != request_)
    throw Error(concat(
        file.string(), ": was kept of another evaluation (of other weights, scales, ",
        "data, options, devices or another version of this program); run without ", "--resume"));
  const std::string digest = bytes.substr(kDigest, kDigest);
  bytes.erase(0, 2 * kDigest);
  refuse_damaged(digest_of(name, bytes) != digest);
  return bytes;
}

std::vector<KeptGroup> GroupFiles::find() const {
  std::vector<KeptGroup> kept;
  if (!is_there(folder_)) return kept;
  std::map<int64_t, int64_t> found;  // last trees by first ones
  for (const std::string& name : list_directory(folder_))
    if (const auto trees = trees_of_name(name)) found[trees->first] = trees->last;
  int64_t next = 0;
  for (auto group = found.find(next); group != found.end(); group = found.find(next)) {
    const TreeGroup trees{next, group->second};
    kept.push_back({trees, read(name_of(trees))});
    next = trees.last;
  }
  return kept;
}

void GroupFiles::keep(const TreeGroup& trees, std::string_view scores) const {
  write(name_of(trees), scores);
}

std::optional<std::string> GroupFiles::find_answers(size_t place) const {
  const std::string name = name_of_answers(place);
  return is_there(folder_ / name) ? std::optional(read(name)) : std::nullopt;
}

fs::path GroupFiles::answers_file(size_t place) const { return folder_ / name_of_answers(place); }

void GroupFiles::keep_answers(size_t place, std::string_view continuations) const {
  write(name_of_answers(place), continuations);
}

// Written under another name first: under its own it is whole.
void GroupFiles::write(const std::string& name, std::string_view content) const {
  if (!is_there(folder_)) make_directory(folder_);
  const fs::path file = folder_ / name;
  const fs::path partial = fs::path(file).concat(kPartial);
  remove_file(partial);
  write_new_file(partial, concat(request_, digest_of(name, content), content));
  rename_path(partial, file);
  sync_directory(folder_);
}

void GroupFiles::remove() const { remove_tree(folder_); }

}  // namespace kvcalib
