// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace kvcalib {

// "12.34 GB", and without the unit
std::string gigabytes(uint64_t bytes, int digits = 2);
std::string bare_gigabytes(uint64_t bytes, int digits = 2);

}  // namespace kvcalib
