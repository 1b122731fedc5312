// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace kvcalib {

// No file that describes a model, its data or a run is larger.
inline constexpr uint64_t kLargestMetadata = uint64_t{256} << 20;

// All bytes of a file that is held in memory as a whole: settings, indices, statistics, scales.
// Throws Error naming the path for what cannot be opened or read, is no regular file, holds more
// than `most` bytes, or is the pointer that Git LFS leaves for a file.  Waits for nobody: a named
// pipe is refused, not opened.
std::string read_metadata_file(const std::filesystem::path& path, uint64_t most = kLargestMetadata);

}  // namespace kvcalib
