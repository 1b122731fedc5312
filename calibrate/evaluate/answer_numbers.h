// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace kvcalib {

// Numbers in generated texts, as Python finds and compares them.

// The digits of the last of the words between blanks that has any; none where none has.
std::u32string digits_of_last_number_word(std::u32string_view text);

// The last of what -?\d+\.\d+|-?\d+ matches; "NULL" where nothing does.
std::u32string last_number(std::u32string_view text);

// Whether they are equal, or the second is a whole number and the first, one that last_number
// gives, lies less than 1e-6 beside it.
bool is_same_number(std::u32string_view number, std::u32string_view whole);

}  // namespace kvcalib
