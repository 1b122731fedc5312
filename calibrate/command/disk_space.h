// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace kvcalib {

// What a file of so many bytes takes: whole blocks.
uint64_t bytes_on_disk(uint64_t bytes);

// Throws Error, `place` first, where less than `needed` is free on the disk that `directory` is on.
void check_disk_space(const std::filesystem::path& directory, const std::string& place,
                      uint64_t needed);

}  // namespace kvcalib
