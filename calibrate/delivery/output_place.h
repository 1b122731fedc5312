// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "calibrate/output/output_transaction.h"
#include "calibrate/runtimes/runtime_table.h"

namespace kvcalib {

// Where results go: into a new directory or into the weights directory.
struct OutputOptions {
  std::optional<std::filesystem::path> output;  // exactly one of output and in_place
  bool in_place = false;
  bool force = false;
};

// Opens where the files for these readers go, before any work: what cannot be written is found out
// now.  In place is only a directory of TurboMind's own weights, for it alone.  For several of them
// files are named READER/NAME.
std::unique_ptr<OutputTransaction> open_output(const OutputOptions& options,
                                               std::span<const std::string> readers,
                                               const std::filesystem::path& weights);

// Where the files will lie.
std::filesystem::path output_path(const OutputOptions& options,
                                  const std::filesystem::path& weights);

// Takes back what a killed run has left where the files go.
void clear_output(const OutputOptions& options, std::span<const std::string> readers,
                  const std::filesystem::path& weights);

}  // namespace kvcalib
