// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

namespace kvcalib {

// "4.2 %", "37 %" of a share.
std::string percent(double share);

// "a", "a and b", "a, b and c", "a, b, c, d and 3 more".
std::string listed(std::span<const std::string> parts, size_t most = 4);

}  // namespace kvcalib
