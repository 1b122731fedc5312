// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/structured_mutation.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace kvcalib {
namespace {

constexpr std::array<std::string_view, 44> kNumbers = {"0",
                                                       "-0",
                                                       "1",
                                                       "-1",
                                                       "2",
                                                       "3",
                                                       "7",
                                                       "15",
                                                       "127",
                                                       "128",
                                                       "255",
                                                       "256",
                                                       "257",
                                                       "1023",
                                                       "1024",
                                                       "1025",
                                                       "65535",
                                                       "65536",
                                                       "65537",
                                                       "1048576",
                                                       "1073741823",
                                                       "1073741824",
                                                       "1073741825",
                                                       "2147483647",
                                                       "2147483648",
                                                       "4294967295",
                                                       "4294967296",
                                                       "4294967297",
                                                       "1099511627776",
                                                       "100000000000",
                                                       "4611686018427387904",
                                                       "9223372036854775807",
                                                       "9223372036854775808",
                                                       "-9223372036854775808",
                                                       "-9223372036854775809",
                                                       "18446744073709551615",
                                                       "18446744073709551616",
                                                       "1.5",
                                                       "1e-400",
                                                       "1e308",
                                                       "1e309",
                                                       "-1e-6",
                                                       "010",
                                                       "0x10"};
constexpr std::array<std::string_view, 14> kLiterals = {
    "null", "true", "false",       "NaN",         "Infinity",     "-Infinity", "\"\"",
    "[]",   "{}",   "\"\\ud800\"", "\"\\u0000\"", "\xEF\xBB\xBF", "\"<s>\"",   "\"linear\""};
constexpr std::array<size_t, 8> kDepths = {1, 2, 3, 126, 127, 128, 129, 1000};

template <typename List>
auto pick(const List& list, std::mt19937& random) {
  return list[random() % std::size(list)];
}

bool is_of_number(char c) {
  return (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '+' || c == 'e' || c == 'E';
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// A number of the text or, where it has none, an empty place in it.
std::pair<size_t, size_t> find_number(const std::string& text, std::mt19937& random) {
  const size_t start = text.empty() ? 0 : random() % text.size();
  for (size_t i = 0; i < text.size(); ++i) {
    const size_t at = (start + i) % text.size();
    if (!is_digit(text[at])) continue;
    size_t begin = at, end = at;
    while (begin > 0 && is_of_number(text[begin - 1])) --begin;
    while (end < text.size() && is_of_number(text[end])) ++end;
    return {begin, end};
  }
  return {start, start};
}

void nest(std::string& text, std::mt19937& random) {
  const auto [begin, end] = find_number(text, random);
  const size_t depth = pick(kDepths, random);
  const bool object = random() % 2 == 0, closes = random() % 4 != 0;
  std::string before, after;
  for (size_t i = 0; i < depth; ++i) {
    before += object ? "{\"a\":" : "[";
    if (closes) after += object ? "}" : "]";
  }
  text.insert(end, after);
  text.insert(begin, before);
}

// Copies what stands between two dividers to behind another one.
void repeat_entry(std::string& text, std::mt19937& random) {
  constexpr std::string_view kDividers = ",\n{}[]";
  if (text.empty()) return;
  const auto divider = [&](size_t from) {
    const size_t found = text.find_first_of(kDividers, from);
    return found == std::string::npos ? text.size() : found;
  };
  const size_t begin = divider(random() % text.size());
  const size_t end = divider(std::min(begin + 1, text.size()));
  const std::string entry = text.substr(begin, end - begin);
  text.insert(divider(random() % text.size()), entry);
}

void change(std::string& text, std::mt19937& random) {
  const auto [begin, end] = find_number(text, random);
  switch (random() % 4) {
    case 0:
      text.replace(begin, end - begin, pick(kNumbers, random));
      break;
    case 1:
      text.replace(begin, end - begin, pick(kLiterals, random));
      break;
    case 2:
      nest(text, random);
      break;
    default:
      repeat_entry(text, random);
  }
}

std::string little_endian(uint64_t value, size_t bytes) {
  std::string text;
  for (size_t i = 0; i < bytes; ++i) text.push_back(static_cast<char>(value >> (8 * i)));
  return text;
}

uint64_t length_at(std::string_view input, size_t at, size_t bytes) {
  uint64_t value = 0;
  for (size_t i = bytes; i-- > 0;) value = value << 8 | static_cast<unsigned char>(input[at + i]);
  return value;
}

}  // namespace

std::string mutate_structure(std::string_view input, std::mt19937& random) {
  size_t at = 0, bytes = 0;  // of the length that the file states
  if (input.size() > 10 && input.starts_with("\x93NUMPY\x01"))
    at = 8, bytes = 2;
  else if (input.size() > 8 && input[8] == '{')
    bytes = 8;
  const std::string_view before = input.substr(0, at), rest = input.substr(at + bytes);
  const uint64_t length = bytes == 0 ? rest.size() : length_at(input, at, bytes);
  if (length > rest.size()) bytes = 0;
  std::string text(rest.substr(0, length));
  for (unsigned changes = 1 + random() % 3; changes > 0; --changes) change(text, random);
  const std::string stated = little_endian(text.size(), bytes);
  return std::string(before) + stated + text +
         std::string(rest.substr(std::min<uint64_t>(length, rest.size())));
}

}  // namespace kvcalib
