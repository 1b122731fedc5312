// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "calibrate/equalise/equalised_files.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// What an equalised weights directory is made of: the entries of the one before.
struct EqualisedTree {
  EqualisedTensors tensors;           // of files that change
  std::vector<std::string> same;      // files that do not
  std::vector<std::string> scales;    // KV scale files, left out
  std::vector<std::string> left_out;  // other names: results of the weights before, other weights,
                                      // folders
  uint64_t bytes = 0;                 // of all files that come along
  uint64_t changed_bytes = 0;         // of files that change

  uint64_t files() const { return tensors.size() + same.size(); }
};

// Throws Error for what cannot be looked at.
EqualisedTree plan_tree(const WeightDirectory& weights);

struct TreeObserver {
  std::function<void(uint64_t bytes)> written;  // a piece; from several threads
  std::function<bool()> stopped;
};

// Makes the files of the tree in an existing folder, several at a time.  Where `linked`, those that
// stay the same become further names of the old ones, if the file system has such, and what changes
// gets the old files' permissions.  Throws Error naming a file that cannot be read or written, or
// whose weights cannot be multiplied, and when it was stopped.
void write_tree(const WeightDirectory& weights, const EqualisedTree& tree,
                const std::vector<LayerFactors>& layers, const std::filesystem::path& folder,
                bool linked, const TreeObserver& observer);

}  // namespace kvcalib
