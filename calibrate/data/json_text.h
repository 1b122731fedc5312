// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace kvcalib {

// The string 'text' of the JSON object `line` (the last one, as Python's json has it).  Throws
// Error beginning with `where` when the line is no JSON (as scan_json has it), no object, has no
// string 'text' or is not UTF-8.
std::string text_of_json_line(std::string_view line, const std::string& where);

}  // namespace kvcalib
