// SPDX-License-Identifier: Apache-2.0
#include "sharding/streaming/image_reader.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/message_of.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib {
namespace {

struct Bits {
  ElementType type;
  size_t bytes;
  uint32_t largest, infinity, nan;
};

constexpr Bits kTypes[] = {{ElementType::kFloat16, 2, 0x7bff, 0xfc00, 0x7c01},
                           {ElementType::kBFloat16, 2, 0x7f7f, 0xff80, 0x7fc0},
                           {ElementType::kFloat32, 4, 0x7f7fffff, 0xff800000, 0x7f800001}};

TEST(AllFinite, FindsOneValueAnywhere) {
  for (const Bits& bits : kTypes) {
    constexpr size_t kCount = 67;  // no multiple of a vector's
    std::vector<std::byte> floats(kCount * bits.bytes);
    for (size_t i = 0; i < kCount; ++i)
      std::memcpy(&floats[i * bits.bytes], &bits.largest, bits.bytes);
    EXPECT_TRUE(all_finite(floats, bits.type));
    for (size_t i = 0; i < kCount; ++i) {
      for (const uint32_t odd : {bits.infinity, bits.nan}) {
        std::memcpy(&floats[i * bits.bytes], &odd, bits.bytes);
        EXPECT_FALSE(all_finite(floats, bits.type)) << i;
      }
      std::memcpy(&floats[i * bits.bytes], &bits.largest, bits.bytes);
    }
  }
}

// Two files end to end in an image, with a gap between.
class ReadImageTest : public testing::Test {
 protected:
  ReadImageTest() {
    for (const auto& [name, bytes, offset] : {std::tuple{"a", uint64_t{1000}, uint64_t{0}},
                                              std::tuple{"b", uint64_t{600}, uint64_t{1024}}}) {
      std::string text(bytes + 10, '\0');  // of which the last bytes are read
      for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(1 + i % 100);
      fixture::write_file(folder_.path() / name, text);
      plan_.ranges.push_back({folder_.path() / name, 10, bytes, offset, ElementType::kFloat32});
    }
    plan_.image_bytes = 2048;
    image_.resize(2048, std::byte{0});
  }

  PieceSink sink() {
    return {[this](int64_t /*worker*/, const ImagePiece& piece) {
              return std::span(image_).subspan(piece.image_offset, piece.bytes);
            },
            {},
            {}};
  }

  const fixture::TemporaryFolder folder_;
  LayerPlan plan_;
  std::vector<std::byte> image_;
};

TEST_F(ReadImageTest, PutsEveryByteOfAFileWhereThePlanWantsIt) {
  read_image(cut_image(plan_, 0, plan_.image_bytes, 96), 3, sink());
  for (size_t i = 0; i < image_.size(); ++i) {
    const bool of_a = i < 1000, of_b = i >= 1024 && i < 1624;
    const size_t in_file = 10 + (of_a ? i : i - 1024);
    const size_t expected = of_a || of_b ? 1 + in_file % 100 : 0;
    ASSERT_EQ(std::to_integer<size_t>(image_[i]), expected) << i;
  }
}

TEST_F(ReadImageTest, ReadsItsShareOnly) {
  read_image(cut_image(plan_, 512, 1100, 96), 2, sink());
  for (size_t i = 0; i < image_.size(); ++i) {
    const bool inside = (i >= 512 && i < 1000) || (i >= 1024 && i < 1100);
    ASSERT_EQ(image_[i] != std::byte{0}, inside) << i;
  }
}

TEST_F(ReadImageTest, LeavesTheRestWhenNobodyWantsIt) {
  PieceSink sink = this->sink();
  int64_t done = 0;
  sink.done = [&](int64_t /*worker*/, const ImagePiece& /*piece*/) { ++done; };
  sink.stopped = [&] { return done == 3; };
  read_image(cut_image(plan_, 0, plan_.image_bytes, 96), 1, sink);
  EXPECT_EQ(done, 3);
}

TEST_F(ReadImageTest, NamesTheFileThatIsDamaged) {
  std::string text(610, '\1');
  text.replace(310, 4, "\x01\x00\x80\x7f", 4);
  fixture::write_file(folder_.path() / "b", text);
  EXPECT_HOLDS("b: holds NaN or Inf", message_of([&] {
                 read_image(cut_image(plan_, 0, plan_.image_bytes, 96), 2, sink());
               }));
}

}  // namespace
}  // namespace kvcalib
