// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <random>
#include <string>
#include <string_view>

namespace kvcalib {

// An input changed as plain mutation of bytes hardly ever does: a number put at a boundary of its
// type, a value nested deeply, a literal that JSON has not, an entry stated twice.  The length that
// a safetensors or a NumPy file states for its header is mended.
std::string mutate_structure(std::string_view input, std::mt19937& random);

}  // namespace kvcalib
