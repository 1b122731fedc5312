// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/unicode_classes.h"

#include <algorithm>
#include <iterator>
#include <span>

#include "calibrate/evaluate/unicode_tables.h"
#include "sharding/files/utf8.h"

namespace kvcalib {
namespace {

constexpr char32_t kReplacement = 0xFFFD;
constexpr char32_t kDottedI = 0x130, kSmallI = 'i', kDotAbove = 0x307;
constexpr char32_t kSigma = 0x3A3, kSmallSigma = 0x3C3, kFinalSigma = 0x3C2;

// The entry that begins at or before `point`, if it reaches so far; null where there is none.
template <typename Entry>
const Entry* find(std::span<const Entry> table, char32_t point) {
  const auto after = std::ranges::upper_bound(table, point, {}, &Entry::first);
  if (after == table.begin()) return nullptr;
  const Entry& entry = *std::prev(after);
  return point <= entry.last ? &entry : nullptr;
}

bool is_in(std::span<const PointRange> table, char32_t point) {
  return find(table, point) != nullptr;
}

// Appends well-formed UTF-8.
void append(std::string_view utf8, std::u32string& text) {
  for (size_t at = 0; at < utf8.size();) {
    const auto first = static_cast<unsigned char>(utf8[at]);
    const size_t bytes = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    char32_t point = bytes == 1 ? first : first & (0x7F >> bytes);
    for (size_t i = 1; i < bytes; ++i)
      point = point << 6 | (static_cast<unsigned char>(utf8[at + i]) & 0x3F);
    text += point;
    at += bytes;
  }
}

// The first that is not skipped, of characters in the order in which they are looked at.
template <typename Iterator>
bool meets_cased(Iterator begin, Iterator end) {
  const Iterator found =
      std::find_if(begin, end, [](char32_t point) { return !is_in(kSkipped, point); });
  return found != end && is_in(kCased, *found);
}

bool is_final_sigma(std::u32string_view text, size_t at) {
  const std::u32string_view before = text.substr(0, at), behind = text.substr(at + 1);
  return meets_cased(before.rbegin(), before.rend()) && !meets_cased(behind.begin(), behind.end());
}

char32_t small_of(char32_t point) {
  const LowerRun* run = find<LowerRun>(kLower, point);
  if (run == nullptr || (point - run->first) % static_cast<char32_t>(run->step) != 0) return point;
  return static_cast<char32_t>(static_cast<int32_t>(point) + run->distance);
}

}  // namespace

std::u32string code_points(std::string_view utf8) {
  std::u32string text;
  while (!utf8.empty()) {
    const size_t valid = first_invalid_utf8(utf8);
    append(utf8.substr(0, valid), text);
    if (valid < utf8.size()) text += kReplacement;
    utf8.remove_prefix(std::min(valid + 1, utf8.size()));
  }
  return text;
}

std::string utf8_of(std::u32string_view text) {
  std::string utf8;
  for (const char32_t point : text) {
    const int more = point < 0x80 ? 0 : point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    constexpr char32_t kFirst[] = {0, 0xC0, 0xE0, 0xF0};
    utf8 += static_cast<char>(kFirst[more] | point >> (6 * more));
    for (int i = more - 1; i >= 0; --i) utf8 += static_cast<char>(0x80 | (point >> (6 * i) & 0x3F));
  }
  return utf8;
}

bool is_word(char32_t point) { return is_in(kWords, point); }
bool is_space(char32_t point) { return is_in(kSpaces, point); }
bool is_digit(char32_t point) { return is_in(kDigits, point); }

std::optional<int> decimal_value(char32_t point) {
  const PointRange* range = find<PointRange>(kDecimals, point);
  if (range == nullptr) return std::nullopt;
  return static_cast<int>((point - range->first) % 10);
}

std::u32string_view without_leading_spaces(std::u32string_view text) {
  const auto first = std::ranges::find_if_not(text, is_space);
  return text.substr(static_cast<size_t>(first - text.begin()));
}

std::u32string_view without_trailing_spaces(std::u32string_view text) {
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::u32string_view stripped(std::u32string_view text) {
  return without_leading_spaces(without_trailing_spaces(text));
}

std::u32string lower(std::u32string_view text) {
  std::u32string small;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] == kDottedI)
      small += {kSmallI, kDotAbove};
    else if (text[at] == kSigma)
      small += is_final_sigma(text, at) ? kFinalSigma : kSmallSigma;
    else
      small += small_of(text[at]);
  }
  return small;
}

}  // namespace kvcalib
