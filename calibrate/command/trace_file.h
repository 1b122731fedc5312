// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace kvcalib {

// Throws Error when what an option names is the weights directory or lies in it.
void check_beside_weights(const char* option, const std::filesystem::path& path,
                          const std::filesystem::path& weights);

// Throws Error when write_trace could not write there, when the place is in the weights directory
// or is or lies in the output directory, or when it would replace what is no trace, or a trace
// without `force`.
void check_trace_place(const std::filesystem::path& file, const std::filesystem::path& weights,
                       const std::optional<std::filesystem::path>& output, bool force);

// Writes the events of all ranks to `file`, whole or not at all, in the place of nothing or of a
// trace.  Throws Error naming it.
void write_trace(const std::filesystem::path& file, const std::vector<std::string>& events);

}  // namespace kvcalib
