// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace kvcalib {

// Warnings to a person, a line each.
void warn(std::ostream& out, const std::vector<std::string>& warnings);

}  // namespace kvcalib
