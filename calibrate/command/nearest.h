// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace kvcalib {

// The name nearest to `wrong` by edits, or nothing where none is near.
std::optional<std::string> nearest(const std::string& wrong, const std::vector<std::string>& known);

// "; did you mean NAME?", or nothing where none is near.
std::string suggestion(const std::string& wrong, const std::vector<std::string>& known);

}  // namespace kvcalib
