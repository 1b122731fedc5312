// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace kvcalib {

// `text`, each byte of which that is no part of well-formed UTF-8 is written \xNN: paths may hold
// any byte, JSON may not.
std::string escape_invalid_utf8(std::string_view text);

// A value as files and stdout have it: indented by two, a line end behind; bytes that are not UTF-8
// escaped as above.
std::string json_text(nlohmann::ordered_json value);

}  // namespace kvcalib
