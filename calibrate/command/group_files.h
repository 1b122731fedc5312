// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/command/score_request.h"

namespace kvcalib {

// A finished group's scores as bytes.
struct KeptGroup {
  TreeGroup trees;
  std::string scores;
};

// What the finished parts of an evaluation gave, kept beside its output directory until that is
// written: in .DIR.kvcalib-groups beside it, of groups FIRST-LAST by their trees, of tasks whose
// answers are generated answers-PLACE, each there whole or not at all.
class GroupFiles {
 public:
  // `request`, a SHA-256 in hexadecimal, tells the evaluation apart from others.  What an earlier
  // run kept is used with `resume`; without it is taken away.  Throws Error when the folder holds
  // something else.
  GroupFiles(const std::filesystem::path& output, std::string request, bool resume);

  // Those that were kept, from the first tree on without a gap.  Throws Error naming a file that is
  // of another request, damaged, or of other trees than its name says.
  std::vector<KeptGroup> find() const;
  // Throws Error naming the file and the system's reason.
  void keep(const TreeGroup& trees, std::string_view scores) const;
  // The same of a task's continuations as bytes, by its place among those that are generated;
  // nothing where they were not kept.
  std::optional<std::string> find_answers(size_t place) const;
  std::filesystem::path answers_file(size_t place) const;
  void keep_answers(size_t place, std::string_view continuations) const;
  // When the output is written.
  void remove() const;
  // How many an earlier run had kept that were taken away.
  int64_t dropped() const { return dropped_; }

 private:
  std::string read(const std::string& name) const;
  void write(const std::string& name, std::string_view content) const;

  const std::filesystem::path folder_;
  const std::string request_;
  int64_t dropped_ = 0;
};

}  // namespace kvcalib
