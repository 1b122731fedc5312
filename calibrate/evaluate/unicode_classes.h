// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace kvcalib {

// Texts as Python's str has them: code points, and the classes that its methods and regular
// expressions know.

// Of UTF-8; U+FFFD for each byte that is no part of well-formed UTF-8.
std::u32string code_points(std::string_view utf8);
std::string utf8_of(std::u32string_view text);

bool is_word(char32_t point);   // \w
bool is_space(char32_t point);  // \s, str.isspace
bool is_digit(char32_t point);  // str.isdigit, which takes a superscript two for one
// 0 to 9 of \d, whatever the script.
std::optional<int> decimal_value(char32_t point);

// str.lstrip, str.rstrip, str.strip.
std::u32string_view without_leading_spaces(std::u32string_view text);
std::u32string_view without_trailing_spaces(std::u32string_view text);
std::u32string_view stripped(std::u32string_view text);
// str.lower.
std::u32string lower(std::u32string_view text);

}  // namespace kvcalib
