// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/unified_diff.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace kvcalib {
namespace {

std::string diff(std::string_view before, std::string_view after) {
  return unified_diff(before, after, "a/config.ini", "b/config.ini");
}

TEST(UnifiedDiff, IsEmptyForEqualTexts) {
  EXPECT_EQ(diff("", ""), "");
  EXPECT_EQ(diff("a\nb", "a\nb"), "");
}

TEST(UnifiedDiff, ShowsThreeLinesOfContext) {
  EXPECT_EQ(diff("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nfive\n6\n7\n8\n9\n"),
            "--- a/config.ini\n+++ b/config.ini\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n "
            "8\n");
}

TEST(UnifiedDiff, JoinsChangesThatShareContextAndPartsOthers) {
  const std::string before = "a\n1\n2\n3\n4\n5\n6\nb\n1\n2\n3\n4\n5\n6\n7\nc\n";
  const std::string after = "A\n1\n2\n3\n4\n5\n6\nB\n1\n2\n3\n4\n5\n6\n7\nC\n";
  EXPECT_EQ(
      diff(before, after),
      "--- a/config.ini\n+++ b/config.ini\n@@ -1,11 +1,11 @@\n-a\n+A\n 1\n 2\n 3\n 4\n 5\n 6\n"
      "-b\n+B\n 1\n 2\n 3\n@@ -13,4 +13,4 @@\n 5\n 6\n 7\n-c\n+C\n");
}

TEST(UnifiedDiff, SaysWhereALastLineHasNoEnd) {
  EXPECT_EQ(diff("a", "a\nb"),
            "--- a/config.ini\n+++ b/config.ini\n@@ -1 +1,2 @@\n-a\n\\ No newline at end of "
            "file\n+a\n+b\n\\ No newline at end of file\n");
}

TEST(UnifiedDiff, NamesLineZeroOfAnEmptyText) {
  EXPECT_EQ(diff("", "a\n"), "--- a/config.ini\n+++ b/config.ini\n@@ -0,0 +1 @@\n+a\n");
  EXPECT_EQ(diff("a\n", ""), "--- a/config.ini\n+++ b/config.ini\n@@ -1 +0,0 @@\n-a\n");
}

// A text of lines drawn from few kinds, so that much of two texts is common.
std::string random_text(uint32_t& state, bool carriage_returns) {
  const auto draw = [&](uint32_t below) {
    state = state * 1664525u + 1013904223u;
    return (state >> 16) % below;
  };
  std::string text = "first\n";
  for (uint32_t lines = draw(30); lines > 0; --lines) {
    text += std::string(1, static_cast<char>('a' + draw(5))) + (carriage_returns ? "\r\n" : "\n");
  }
  return draw(3) == 0 ? text + "end" : text;
}

TEST(UnifiedDiff, IsAppliedByPatch) {
  if (std::system("patch --version >/dev/null 2>&1") != 0) GTEST_SKIP() << "no patch program";
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / "kvcalib_unified_diff_test";
  std::filesystem::create_directories(folder);
  const auto write = [&](const char* name, const std::string& text) {
    std::ofstream(folder / name, std::ios::binary) << text;
  };
  uint32_t state = 7;
  for (int round = 0; round < 60; ++round) {
    const std::string before = random_text(state, round % 2 == 1);
    const std::string after = random_text(state, round % 2 == 1);
    if (before == after) continue;
    write("config.ini", before);
    write("config.patch", diff(before, after));
    const std::string command = "cd '" + folder.string() + "' && patch -s -p1 < config.patch";
    ASSERT_EQ(std::system(command.c_str()), 0) << diff(before, after);
    std::ifstream patched(folder / "config.ini", std::ios::binary);
    ASSERT_EQ(std::string(std::istreambuf_iterator<char>(patched), {}), after)
        << diff(before, after);
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace kvcalib
