// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/gzip_index.h"

#include <gtest/gtest.h>

#include "calibrate/data/python_random.h"
#include "tests/data/data_fixture.h"

namespace kvcalib {
namespace {

using namespace fixture;

class GzipIndexTest : public testing::Test {
 protected:
  // Indexes `bytes`, fed in pieces; contents() is then what they held.
  GzipIndex scan(std::string_view bytes, size_t piece = 1 << 18) {
    GzipScanner scanner("a.gz");
    contents_.clear();
    for (size_t i = 0; i < bytes.size(); i += piece) {
      scanner.feed(bytes.substr(i, piece), [&](std::string_view part) { contents_ += part; });
    }
    return scanner.finish();
  }

  std::string refusal(std::string_view bytes, size_t piece = 1 << 18) {
    return message_of([&] { scan(bytes, piece); });
  }

  // That any part of the contents can be read from the file.
  void expect_random_access(std::string_view bytes) {
    const GzipIndex index = scan(bytes);
    const InputFile file(write(folder_.path() / "a.gz", bytes));
    PythonRandom random(1);
    const auto last = static_cast<int64_t>(contents_.size());
    for (int i = 0; i < 60; ++i) {
      const int64_t offset = random.between(0, last);
      const int64_t count = random.between(0, std::min<int64_t>(last - offset, 1 << (i % 22)));
      ASSERT_EQ(index.read(file, offset, count), contents_.substr(offset, count))
          << count << " bytes from " << offset;
    }
    ASSERT_EQ(index.read(file, 0, contents_.size()), contents_);
  }

  TemporaryFolder folder_;
  std::string contents_;
};

TEST_F(GzipIndexTest, GivesTheContentsHoweverTheBytesArrive) {
  const std::string text = prose(1, 300000);
  const std::string file = gzip(text.substr(0, 100000)) + gzip("") + gzip(text.substr(100000));
  for (const size_t piece : {1, 2, 7, 1000, 65536, 1 << 20}) {
    scan(file, piece);
    EXPECT_EQ(contents_, text) << "pieces of " << piece;
  }
}

TEST_F(GzipIndexTest, ReadsAnyPartOfOneMember) {
  for (const int level : {1, 6, 9}) expect_random_access(gzip(prose(2, 6 << 20), level));
}

TEST_F(GzipIndexTest, ReadsAnyPartOfStoredBlocks) {
  expect_random_access(gzip(prose(3, 3 << 20), 0));
}

TEST_F(GzipIndexTest, ReadsAcrossMembersOfAllSizes) {
  std::string file;
  for (int i = 0; i < 40; ++i) file += gzip(prose(i, i % 4 == 0 ? 400000 : i * 997), 1 + i % 9);
  expect_random_access(file);
}

TEST_F(GzipIndexTest, ReadsAcrossThousandsOfSmallMembers) {
  std::string file;
  for (int i = 0; i < 3000; ++i) file += gzip(prose(i, 700));
  expect_random_access(file);
}

TEST_F(GzipIndexTest, ReadsMembersWithNamesAndZeroesBehind) {
  std::string named = gzip(prose(5, 1500000));
  named[3] |= 8;  // FLG.FNAME
  named.insert(10, std::string("text.json\0", 10));
  expect_random_access(named + std::string(512, '\0') + gzip("more") + std::string(1000, '\0'));
}

TEST_F(GzipIndexTest, TakesAnEmptyMember) {
  scan(gzip(""));
  EXPECT_EQ(contents_, "");
}

TEST_F(GzipIndexTest, IsSmallBesideTheContents) {
  const GzipIndex packed = scan(gzip(prose(6, 24 << 20), 1));
  EXPECT_GT(packed.memory_bytes(), 20u * 1000u) << "there are places";
  EXPECT_LT(packed.memory_bytes(), contents_.size() / 30);

  std::string members;
  for (int i = 0; i < 20000; ++i) members += gzip("x");
  EXPECT_LT(scan(members).memory_bytes(), 1000u) << "a place is not for each member";
}

TEST_F(GzipIndexTest, RefusesAFileCutAnywhere) {
  const std::string whole = gzip(prose(7, 3000));
  for (size_t length = 1; length < whole.size(); length += 1 + length / 9) {
    const std::string message = refusal(whole.substr(0, length));
    EXPECT_HOLDS(concat("a.gz: the gzip data are cut off at byte ", length), message);
  }
  EXPECT_HOLDS("cut off", refusal(whole + whole.substr(0, 5)));
  EXPECT_HOLDS("a.gz: is empty", refusal(""));
}

TEST_F(GzipIndexTest, RefusesDamage) {
  const std::string whole = gzip(prose(8, 200000));
  for (const size_t at :
       {size_t{0}, size_t{2}, whole.size() / 2, whole.size() - 8, whole.size() - 1}) {
    std::string spoilt = whole;
    spoilt[at] ^= 0x41;
    EXPECT_HOLDS("a.gz: is not gzip, or damaged, at byte ", refusal(spoilt)) << "byte " << at;
    EXPECT_HOLDS("a.gz: is not gzip, or damaged, at byte ", refusal(spoilt, 1)) << "byte " << at;
  }
  EXPECT_HOLDS("a.gz: is not gzip", refusal("{\"text\": \"not compressed at all\"}\n"));
}

TEST_F(GzipIndexTest, RefusesWhatFollowsTheLastMember) {
  EXPECT_HOLDS("but something else follows", refusal(gzip("one") + "{\"text\": \"two\"}"));
  EXPECT_HOLDS("but something else follows", refusal(gzip("one") + "{\"text\": \"two\"}", 1));
}

TEST_F(GzipIndexTest, NoticesThatTheFileWasReplaced) {
  const GzipIndex index = scan(gzip(prose(9, 4 << 20)));
  const InputFile shorter(write(folder_.path() / "b.gz", gzip("short")));
  EXPECT_HOLDS("was it changed while it was read?",
               message_of([&] { index.read(shorter, 3 << 20, 10); }));
  EXPECT_HOLDS("was it changed while it was read?",
               message_of([&] { index.read(shorter, 0, 1000); }));
}

}  // namespace
}  // namespace kvcalib
