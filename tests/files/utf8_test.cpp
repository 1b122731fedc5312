// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace kvcalib {
namespace {

using namespace std::string_view_literals;

TEST(Utf8, TakesTheFirstAndLastCharacterOfEachLength) {
  for (const std::string_view text :
       {""sv, "\0"sv, "\x7f"sv, "\xc2\x80"sv, "\xdf\xbf"sv, "\xe0\xa0\x80"sv, "\xed\x9f\xbf"sv,
        "\xee\x80\x80"sv, "\xef\xbf\xbf"sv, "\xf0\x90\x80\x80"sv, "\xf4\x8f\xbf\xbf"sv}) {
    EXPECT_EQ(first_invalid_utf8(text), text.size());
  }
}

TEST(Utf8, RefusesWhatIsNoCharacter) {
  for (const std::string_view text :
       {"\x80"sv, "\xbf"sv, "\xc0\x80"sv, "\xc1\xbf"sv, "\xe0\x9f\xbf"sv, "\xed\xa0\x80"sv,
        "\xf0\x8f\xbf\xbf"sv, "\xf4\x90\x80\x80"sv, "\xf5\x80\x80\x80"sv, "\xff"sv, "\xc3"sv,
        "\xe2\x82"sv, "\xf0\x9f\x98"sv, "\xc3("sv, "\xe2\x82("sv, "\xf0\x9f\x98("sv}) {
    EXPECT_EQ(first_invalid_utf8(text), 0u);
  }
}

TEST(Utf8, SaysWhereTheFaultIs) {
  for (size_t before = 0; before < 40; ++before) {
    const std::string good = std::string(before, 'a') + "\u00e9\U0001f600";
    EXPECT_EQ(first_invalid_utf8(good + "\xff" + "abcdefghij"), good.size());
    EXPECT_EQ(first_invalid_utf8(good + "abcdefghij"), good.size() + 10);
  }
}

}  // namespace
}  // namespace kvcalib
