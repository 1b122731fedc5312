// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/scale_files.h"

#include <gtest/gtest.h>

#include "tests/message_of.h"
#include "tests/output/output_folder.h"

namespace kvcalib {
namespace {

const TurboMindRelease kLatest = find_turbomind_release("0.3.0");
const TurboMindRelease kOldest = find_turbomind_release("0.0.2");

TEST(ScaleFiles, HoldKnownBytes) {
  const KvScale scale{1.0f, -2.0f, 0.5f, 0.15625f};
  EXPECT_EQ(scale_file_bytes(scale, kLatest),
            std::string("\x00\x00\x80\x3f\x00\x00\x00\xc0\x00\x00\x00\x3f\x00\x00\x20\x3e", 16));
  EXPECT_EQ(scale_file_bytes(scale, find_turbomind_release("0.0.4")).size(), 16u);
  EXPECT_EQ(scale_file_bytes({1.0f, 0.0f, 0.5f, 0.0f}, kOldest),
            std::string("\x00\x00\x80\x3f\x00\x00\x00\x3f", 8));
}

TEST(ScaleFiles, HaveNoPlaceForZeroPointsInTheOldestReleases) {
  EXPECT_HOLDS(
      "--runtime v0.0.2: its scale files have no zero points; add --symmetric, or calibrate for "
      "v0.0.4 or later",
      message_of([] {
        scale_file_bytes({1, 2, 3, 4}, kOldest);
      }));
}

TEST(ScaleFiles, AreReadBack) {
  const KvScale scale{1.5f, -2.0f, 0.5f, 0.1f};
  EXPECT_EQ(parse_scale_file(scale_file_bytes(scale, kLatest)), scale);
  const KvScale symmetric{1.5f, 0.0f, 0.5f, 0.0f};
  EXPECT_EQ(parse_scale_file(scale_file_bytes(symmetric, kOldest)), symmetric);
  for (const size_t size : {0u, 4u, 7u, 12u, 17u}) {
    EXPECT_FALSE(parse_scale_file(std::string(size, 'x')).has_value());
  }
}

TEST(ScaleFiles, AreNamedByLayerAndRank) {
  EXPECT_EQ(scale_file_name(81, 7), "layers.81.past_kv_scale.7.weight");
  EXPECT_EQ(parse_scale_file_name("layers.81.past_kv_scale.7.weight"), (ScaleFileId{81, 7}));
  for (const char* name :
       {"layers.81.past_kv_scale.7.bias", "layers.081.past_kv_scale.7.weight",
        "layers.81.past_kv_scale.-7.weight", "layers.81.past_kv_scale.weight",
        "layers..past_kv_scale.7.weight", "layer.81.past_kv_scale.7.weight",
        "layers.81.past_kv_scale.7.weight.bak", "layers.9999999999.past_kv_scale.7.weight",
        "layers.past_kv_scale.7.weight", "past_kv_scale"}) {
    EXPECT_FALSE(parse_scale_file_name(name).has_value()) << name;
    EXPECT_TRUE(is_scale_file_name(name)) << name;
  }
  EXPECT_FALSE(is_scale_file_name("layers.0.attention.w_qkv.0.weight"));
}

TEST(ScaleFiles, OfAllLayersAndRanksAreInOrder) {
  const std::vector<KvScale> scales{{1, 0, 1, 0}, {2, 0, 2, 0}, {3, 0, 3, 0},
                                    {4, 0, 4, 0}, {5, 0, 5, 0}, {6, 0, 6, 0}};
  const std::vector<OutputFile> files = scale_files(scales, 3, kLatest);
  ASSERT_EQ(files.size(), 6u);
  EXPECT_EQ(files[0].name, "layers.0.past_kv_scale.0.weight");
  EXPECT_EQ(files[2].name, "layers.0.past_kv_scale.2.weight");
  EXPECT_EQ(files[3].name, "layers.1.past_kv_scale.0.weight");
  EXPECT_EQ(parse_scale_file(files[4].bytes), scales[4]);
}

class StoredScalesTest : public testing::Test {
 protected:
  void write(int64_t layers, int64_t ranks, const TurboMindRelease& release) {
    for (int64_t i = 0; i < layers * ranks; ++i) {
      scales_.push_back({static_cast<float>(i + 1), 0.0f, 0.5f, 0.0f});
    }
    for (const OutputFile& file : scale_files(scales_, ranks, release)) {
      put(folder_.path(), {{file.name, file.bytes}});
    }
  }
  std::string refusal() {
    return message_of([&] { read_scales(folder_.path()); });
  }

  OutputFolder folder_;
  std::vector<KvScale> scales_;
};

TEST_F(StoredScalesTest, AreReadFromADirectory) {
  write(11, 2, kLatest);
  put(folder_.path(), {{"norm.weight", "x"}, {"layers.0.past_kv_scale.0.weight.bak", "x"}});
  const StoredScales stored = read_scales(folder_.path());
  EXPECT_EQ(stored.layers, 11);
  EXPECT_EQ(stored.ranks, 2);
  EXPECT_EQ(stored.values, 4);
  EXPECT_EQ(stored.scales, scales_);
}

TEST_F(StoredScalesTest, AreReadInTheOldestForm) {
  write(2, 2, kOldest);
  const StoredScales stored = read_scales(folder_.path());
  EXPECT_EQ(stored.values, 2);
  EXPECT_EQ(stored.scales, scales_);
}

TEST_F(StoredScalesTest, AreRefusedWhenAbsent) {
  EXPECT_HOLDS(concat(folder_.path().string(), ": has no KV scale files"), refusal());
  EXPECT_HOLDS("/nonexistent: cannot be listed: No such file",
               message_of([] { read_scales("/nonexistent"); }));
}

TEST_F(StoredScalesTest, AreRefusedWithAHole) {
  write(3, 2, kLatest);
  std::filesystem::remove(folder_.path() / scale_file_name(2, 1));
  EXPECT_HOLDS(
      "layers.2.past_kv_scale.1.weight: missing, though there are scale files of 3 layers and 2 "
      "ranks",
      refusal());
  put(folder_.path(), {{scale_file_name(999999999, 999999999), std::string(16, 'x')}});
  EXPECT_HOLDS("layers.0.past_kv_scale.2.weight: missing", refusal());
}

TEST_F(StoredScalesTest, AreRefusedInTheWrongSize) {
  write(2, 2, kLatest);
  put(folder_.path(), {{scale_file_name(1, 0), std::string(8, 'x')}});
  EXPECT_HOLDS("layers.1.past_kv_scale.0.weight: has 8 bytes, expected 16", refusal());
  put(folder_.path(), {{scale_file_name(0, 0), "xyz"}});
  EXPECT_HOLDS("layers.0.past_kv_scale.0.weight: has 3 bytes, expected 16 (or 8)", refusal());
}

}  // namespace
}  // namespace kvcalib
