// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace kvcalib {

// The unified diff (three lines of context) that turns `old_text` into `new_text`; empty when they
// are equal.  With names such as "a/config.ini" and "b/config.ini", `patch -p1` applies it.  Lines
// end at "\n": a "\r" before it belongs to the line.
std::string unified_diff(std::string_view old_text, std::string_view new_text,
                         std::string_view old_name, std::string_view new_name);

}  // namespace kvcalib
