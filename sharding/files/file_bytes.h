// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

namespace kvcalib {

// All bytes of a small file.  Throws Error naming the path and the system's reason.
std::string read_file(const std::filesystem::path& path);

}  // namespace kvcalib
