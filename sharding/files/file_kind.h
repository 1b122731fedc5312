// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

namespace kvcalib {

// What a name on the file system stands for.
enum class FileKind { kNothing, kFile, kDirectory, kLink, kOther };

// What is at a path, links followed, and what the path itself is.  There is nothing only where the
// system says so (ENOENT, or ENOTDIR on the way): whoever could not look does not know.  Throws
// Error naming the path and the system's reason.
FileKind kind_behind(const std::filesystem::path& path);
FileKind kind_at(const std::filesystem::path& path);

}  // namespace kvcalib
