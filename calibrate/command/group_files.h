// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kvcalib {

// What the finished groups of an evaluation gave, kept beside its output directory until that is
// written: .DIR.kvcalib-groups/N beside it, each there whole or not at all.
class GroupFiles {
 public:
  // `request`, a SHA-256 in hexadecimal, tells the evaluation apart from others.  What an earlier
  // run kept is used with `resume`; without it is taken away.
  GroupFiles(const std::filesystem::path& output, std::string request, bool resume);

  // The bytes that were kept of a group; nothing when it is not finished.  Throws Error naming the
  // file when they are of another request or damaged.
  std::optional<std::string> find(size_t group) const;
  // Throws Error naming the file and the system's reason.
  void keep(size_t group, std::string_view bytes) const;
  // When the output is written.
  void remove() const;

 private:
  std::filesystem::path file_of(size_t group) const;

  const std::filesystem::path folder_;
  const std::string request_;
};

}  // namespace kvcalib
