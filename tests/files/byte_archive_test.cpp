// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/byte_archive.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/message_of.h"

namespace kvcalib {

struct ArchivedLeaf {
  int32_t number = 0;
  std::string text;
  std::optional<int64_t> maybe;

  bool operator==(const ArchivedLeaf&) const = default;
};

struct ArchivedTree {
  enum class Kind : uint8_t { kOne, kTwo };

  Kind kind = Kind::kOne;
  bool flag = false;
  std::vector<float> floats;
  std::vector<std::string> texts;
  std::vector<std::vector<uint8_t>> nested;
  std::vector<ArchivedLeaf> leaves;
  std::optional<ArchivedLeaf> leaf;

  bool operator==(const ArchivedTree&) const = default;
};

template <typename Archive, SameAs<ArchivedLeaf> T>
void members(Archive& archive, T& leaf) {
  archive(leaf.number, leaf.text, leaf.maybe);
}

template <typename Archive, SameAs<ArchivedTree> T>
void members(Archive& archive, T& tree) {
  archive(tree.kind, tree.flag, tree.floats, tree.texts, tree.nested, tree.leaves, tree.leaf);
}

namespace {

const std::string kOrigin = "a message";

template <typename... T>
std::string bytes_of(const T&... values) {
  ArchiveWriter writer;
  writer(values...);
  return writer.take();
}

template <typename T>
T read_as(std::string_view bytes) {
  T value;
  ArchiveReader reader(bytes, kOrigin);
  reader(value);
  reader.end();
  return value;
}

template <typename T>
std::string refusal(std::string_view bytes) {
  return message_of([&] { read_as<T>(bytes); });
}

ArchivedTree some_tree() {
  return {ArchivedTree::Kind::kTwo,
          true,
          {1.5F, -0.0F, std::numeric_limits<float>::infinity()},
          {"", std::string("a\0b", 3)},
          {{}, {1, 2, 255}},
          {{-1, "leaf", 7}, {std::numeric_limits<int32_t>::min(), "", std::nullopt}},
          ArchivedLeaf{3, "last", std::numeric_limits<int64_t>::max()}};
}

TEST(ByteArchive, GivesBackWhatWasWritten) {
  EXPECT_EQ(read_as<ArchivedTree>(bytes_of(some_tree())), some_tree());
  EXPECT_EQ(read_as<ArchivedTree>(bytes_of(ArchivedTree())), ArchivedTree());
  EXPECT_EQ(bytes_of(some_tree()), bytes_of(some_tree()));
}

TEST(ByteArchive, ReplacesWhatAValueHeldBefore) {
  ArchivedTree value = some_tree();
  const std::string bytes = bytes_of(ArchivedTree());
  ArchiveReader reader(bytes, kOrigin);
  reader(value);
  EXPECT_EQ(value, ArchivedTree());
}

TEST(ByteArchive, WritesNumbersAsTheyLieInMemoryAndTheLengthBeforeAnArray) {
  EXPECT_EQ(bytes_of(uint16_t{0x0201}, std::string("ab")),
            std::string("\x01\x02\x02\0\0\0\0\0\0\0ab", 12));
  EXPECT_EQ(bytes_of(std::vector<uint8_t>{9}), std::string("\x01\0\0\0\0\0\0\0\x09", 9));
  EXPECT_EQ(bytes_of(std::optional<uint8_t>(), std::optional<uint8_t>(5)),
            std::string("\0\x01\x05", 3));
}

TEST(ByteArchive, RefusesAMessageThatEndsTooEarlyWhereverThatIs) {
  const std::string bytes = bytes_of(some_tree());
  ASSERT_GT(bytes.size(), 100U);
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_EQ(refusal<ArchivedTree>(std::string_view(bytes).substr(0, size)),
              "a message: is damaged; take it away and run again")
        << size << " of " << bytes.size();
}

TEST(ByteArchive, RefusesWhatIsBehindAMessage) {
  EXPECT_HOLDS("a message: is damaged", refusal<ArchivedTree>(bytes_of(some_tree()) + '\0'));
}

// An allocation of as much would throw something else than Error.
TEST(ByteArchive, RefusesCountsThatTheBytesCannotHold) {
  for (const uint64_t count :
       {uint64_t{2}, uint64_t{1} << 31, uint64_t{1} << 61, std::numeric_limits<uint64_t>::max()}) {
    const std::string bytes = bytes_of(count, uint64_t{0}).substr(0, 15);
    EXPECT_HOLDS("is damaged", refusal<std::vector<uint64_t>>(bytes)) << count;
    if (count > 7) {
      EXPECT_HOLDS("is damaged", refusal<std::string>(bytes)) << count;
      EXPECT_HOLDS("is damaged", refusal<std::vector<ArchivedTree>>(bytes)) << count;
    }
  }
}

// Elements that are told of and not there take no memory.
struct Large {
  static inline int64_t made = 0;
  Large() { ++made; }
  uint8_t number = 0;
};

template <typename Archive, SameAs<Large> T>
void members(Archive& archive, T& large) {
  uint64_t number = large.number;
  archive(number);
}

TEST(ByteArchive, MakesElementsAsTheyCome) {
  Large::made = 0;
  const std::string bytes = bytes_of(uint64_t{1000}, std::string(992, 'x'));
  EXPECT_HOLDS("is damaged", refusal<std::vector<Large>>(bytes));
  EXPECT_LE(Large::made, 126);
}

TEST(ByteArchive, RefusesAFlagThatIsNone) {
  EXPECT_HOLDS("is damaged", refusal<bool>(std::string("\x02", 1)));
  EXPECT_HOLDS("is damaged", refusal<std::optional<uint8_t>>(std::string("\x02\x05", 2)));
}

}  // namespace
}  // namespace kvcalib
