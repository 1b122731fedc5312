// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/table.h"

#include <gtest/gtest.h>

#include <string>

namespace kvcalib {
namespace {

const Table kTable = {{"task", "n", "diff"}, 1, {{"RTE", "277", "-1.00 ± 0.50"}, {"été", "9", ""}}};

TEST(Table, AlignsByCharactersNotBytes) {
  EXPECT_EQ(text_table(kTable),
            "task    n          diff\n"
            "RTE   277  -1.00 ± 0.50\n"
            "été     9\n");
}

TEST(Table, WritesMarkdown) {
  EXPECT_EQ(markdown_table(kTable),
            "| task | n | diff |\n"
            "|---|---:|---:|\n"
            "| RTE | 277 | -1.00 ± 0.50 |\n"
            "| été | 9 |  |\n");
}

TEST(Table, ShortRowsGoOnOverTheColumnsBehind) {
  const Table table = {{"task", "n", "diff"}, 1, {{"RTE", "2", "0"}, {"x", "is not there"}, {"y"}}};
  EXPECT_EQ(text_table(table),
            "task  n  diff\n"
            "RTE   2     0\n"
            "x     is not there\n"
            "y\n");
  EXPECT_EQ(markdown_table(table),
            "| task | n | diff |\n"
            "|---|---:|---:|\n"
            "| RTE | 2 | 0 |\n"
            "| x | is not there |  |\n"
            "| y |  |  |\n");
}

TEST(Table, CellsCannotBreakOutOfMarkdown) {
  EXPECT_EQ(markdown_table({{"a"}, 1, {{"x|y\nz"}}}), "| a |\n|---|\n| x\\|y z |\n");
}

TEST(Wrapped, BreaksAtBlanks) {
  EXPECT_EQ(wrapped("one two three four", 9), "one two\n  three\n  four\n");
  EXPECT_EQ(wrapped("one two", 7), "one two\n");
  EXPECT_EQ(wrapped("± ± ±", 5), "± ± ±\n");
}

TEST(Wrapped, LeavesLongWordsWhole) {
  EXPECT_EQ(wrapped("/a/very/long/path is long", 8), "/a/very/long/path\n  is\n  long\n");
  EXPECT_EQ(wrapped("", 8), "\n");
}

}  // namespace
}  // namespace kvcalib
