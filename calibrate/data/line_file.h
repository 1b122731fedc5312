// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string_view>

#include "calibrate/data/input_file.h"

namespace kvcalib {

// Receives a line without its end, and its number from 1 on.
using LineConsumer = std::function<void(std::string_view line, uint64_t number)>;

// Reads a file once from end to end and hands over its lines.  They end with \n, or \r\n, and
// nothing else; the last one's end may be missing.  With .gz behind its name: gzip-compressed.
// Throws Error naming the file for what cannot be read, and the line that has more than
// `largest_line` bytes.
HashedFile read_lines(const std::filesystem::path& path, uint64_t largest_line,
                      const LineConsumer& consumer);

}  // namespace kvcalib
