// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/answer_numbers.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "calibrate/evaluate/unicode_classes.h"

namespace kvcalib {
namespace {

using Text = std::u32string_view;

constexpr double kTolerance = 1e-6;

bool is_decimal(char32_t point) { return decimal_value(point).has_value(); }

// How many decimals stand at the text's beginning.
size_t decimals(Text text) {
  return static_cast<size_t>(std::ranges::find_if_not(text, is_decimal) - text.begin());
}

// Characters of the number at the text's beginning, 0 where there is none.
size_t number_length(Text text) {
  const size_t sign = text.starts_with(U'-') ? 1 : 0;
  const size_t whole = decimals(text.substr(sign));
  if (whole == 0) return 0;
  const size_t length = sign + whole;
  if (!text.substr(length).starts_with(U'.')) return length;
  const size_t fraction = decimals(text.substr(length + 1));
  return fraction == 0 ? length : length + 1 + fraction;
}

// In the digits of ASCII, all else as it is.
std::string in_ascii(Text text) {
  std::string ascii;
  for (const char32_t point : text) {
    const std::optional<int> digit = decimal_value(point);
    ascii += digit ? static_cast<char>('0' + *digit) : static_cast<char>(point);
  }
  return ascii;
}

// As float() reads what last_number gives; none for a word.
std::optional<double> real_of(Text text) {
  if (text.empty() || number_length(text) != text.size()) return std::nullopt;
  const std::string ascii = in_ascii(text);
  double value = 0;
  const auto result = std::from_chars(ascii.data(), ascii.data() + ascii.size(), value);
  if (result.ec != std::errc::result_out_of_range) return value;
  const bool is_small = ascii.substr(0, ascii.find('.')).find_first_of("123456789") == ascii.npos;
  return is_small ? 0 : std::numeric_limits<double>::infinity();
}

// As int() reads it: spaces around it, a sign, single underscores between digits.
std::optional<double> whole_of(Text text) {
  text = stripped(text);
  const bool is_negative = text.starts_with(U'-');
  if (is_negative || text.starts_with(U'+')) text.remove_prefix(1);
  std::u32string number = is_negative ? U"-" : U"";
  for (size_t at = 0; at < text.size(); ++at) {
    const bool joins = text[at] == U'_' && at > 0 && at + 1 < text.size() && text[at - 1] != U'_';
    if (!joins && !is_decimal(text[at])) return std::nullopt;
    if (!joins) number += text[at];
  }
  return real_of(number);
}

}  // namespace

std::u32string digits_of_last_number_word(Text text) {
  std::u32string digits;
  for (bool is_last = false; !is_last && digits.empty();) {
    const size_t blank = text.rfind(U' ');
    is_last = blank == Text::npos;
    std::ranges::copy_if(is_last ? text : text.substr(blank + 1), std::back_inserter(digits),
                         is_digit);
    if (!is_last) text.remove_suffix(text.size() - blank);
  }
  return digits;
}

std::u32string last_number(Text text) {
  Text number = U"NULL";
  while (!text.empty()) {
    const size_t length = number_length(text);
    if (length > 0) number = text.substr(0, length);
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return std::u32string(number);
}

bool is_same_number(Text number, Text whole) {
  if (number == whole) return true;
  const std::optional<double> value = real_of(number), expected = whole_of(whole);
  return value && expected && std::abs(*value - *expected) < kTolerance;
}

}  // namespace kvcalib
