// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace kvcalib {

// Throws Error when write_trace could not write there, or would replace what is no file, or a file
// without `force`.
void check_trace_place(const std::filesystem::path& file, bool force);

// Writes the events of all ranks to `file`, whole or not at all.  Throws Error naming it.
void write_trace(const std::filesystem::path& file, const std::vector<std::string>& events);

}  // namespace kvcalib
