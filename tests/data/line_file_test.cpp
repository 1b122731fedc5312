// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/line_file.h"

#include <gtest/gtest.h>

#include "sharding/files/sha256.h"
#include "tests/data/data_fixture.h"

namespace kvcalib {
namespace {

using namespace fixture;

class LineFile : public testing::Test {
 protected:
  std::vector<std::string> lines_of(const std::string& bytes, uint64_t largest = 1 << 20,
                                    const std::string& name = "a.jsonl") {
    std::vector<std::string> lines;
    read_lines(write(folder_.path() / name, bytes), largest,
               [&](std::string_view line, uint64_t number) {
                 lines.emplace_back(line);
                 EXPECT_EQ(number, lines.size());
               });
    return lines;
  }

  TemporaryFolder folder_;
};

TEST_F(LineFile, CutsAtLineFeeds) {
  using Lines = std::vector<std::string>;
  EXPECT_EQ(lines_of(""), Lines{});
  EXPECT_EQ(lines_of("\n"), Lines{""});
  EXPECT_EQ(lines_of("a"), Lines{"a"});
  EXPECT_EQ(lines_of("a\nb\n"), (Lines{"a", "b"}));
  EXPECT_EQ(lines_of("a\r\n\r\nb\rc\r"), (Lines{"a", "", "b\rc"}));
  EXPECT_EQ(lines_of("\u2028\x0b\x0c\u0085\n"), (Lines{"\u2028\x0b\x0c\u0085"}));
}

TEST_F(LineFile, CutsLinesOfAnySize) {
  std::vector<std::string> expected;
  std::string bytes;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    expected.push_back(prose(seed, seed % 30 == 0 ? seed * 3000 : seed));
    bytes += expected.back() + "\n";
  }
  EXPECT_EQ(lines_of(bytes), expected);
  EXPECT_EQ(lines_of(gzip(bytes), 1 << 20, "a.jsonl.gz"), expected);
}

TEST_F(LineFile, RefusesALineThatIsTooLarge) {
  EXPECT_EQ(lines_of("aaa\naaaa", 4).size(), 2u);
  EXPECT_HOLDS("a.jsonl, line 2: has more than 4 bytes",
               message_of([&] { lines_of("aaa\naaaaa\na", 4); }));
}

TEST_F(LineFile, HashesTheFile) {
  const std::string packed = gzip("a\nb\n");
  const HashedFile file =
      read_lines(write(folder_.path() / "a.gz", packed), 10, [](std::string_view, uint64_t) {});
  EXPECT_EQ(file.sha256, sha256_hex(packed));
  EXPECT_EQ(file.path, folder_.path() / "a.gz");
}

}  // namespace
}  // namespace kvcalib
