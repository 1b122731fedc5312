// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/runtimes/turbomind/releases.h"
#include "sharding/formats/weight_directory.h"
#include "sharding/writing/turbomind_writer.h"

namespace kvcalib {

// What a release is to be given: weights, their config.ini and the tokenizer beside them.
struct Workspace {
  TurboMindCut cut;
  std::string config;
  std::vector<std::filesystem::path> tokenizer;
  std::vector<std::string> warnings;
};

// As that release's converter would make it from weights of any kind, cut for `ranks`.
// `model_name` names the chat template; empty: as config.ini of the weights has it.  Throws Error
// with everything that the release would misread, and UsageError for a name that is missing.
Workspace plan_workspace(const WeightDirectory& source, const TurboMindRelease& release,
                         int64_t ranks, const std::string& model_name);

// Into the folders weights and tokenizer, which it makes in `directory`.  Throws Error naming a
// file that cannot be read or written, and when it was stopped.
void write_workspace(const WeightDirectory& source, const Workspace& workspace,
                     const std::filesystem::path& directory, const WritingObserver& observer);

// The first entry of a folder that write_workspace does not make, if there is any.
std::optional<std::string> foreign_to_workspace(const std::filesystem::path& directory);

}  // namespace kvcalib
