// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/turbomind_layout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "tests/turbomind_fixture.h"

namespace kvcalib {
namespace {

ModelConfig grouped_model(bool bias) {
  ModelConfig config = fixture::small_model();
  config.heads = 8;
  config.head_dim = 8;
  config.attention_bias = bias;
  return config;
}

// How often each element of a whole tensor lies in one of the files.
using Counts = std::map<LayerTensor, std::vector<int>>;

void count(Counts& counts, const ModelConfig& config, const TurboMindLayerFile& file) {
  const auto [rows, columns] = tensor_shape(config, file.tensor);
  std::vector<int>& of_tensor = counts[file.tensor];
  of_tensor.resize(static_cast<size_t>(rows * columns));
  for (int64_t row = 0; row < file.rows; ++row) {
    for (const ColumnSpan& span : file.columns) {
      for (int64_t column = span.first; column < span.first + span.count; ++column)
        ++of_tensor.at(static_cast<size_t>((file.first_row + row) * columns + column));
    }
  }
}

TEST(TurboMindLayout, HoldsEveryElementOfEveryTensorOnce) {
  for (const bool bias : {false, true}) {
    const ModelConfig config = grouped_model(bias);
    for (const int64_t ranks : {1, 2, 4}) {
      Counts counts;
      for (const TurboMindLayerFile& file : turbomind_layer_files(config, ranks))
        if (!file.is_copy) count(counts, config, file);
      for (int64_t i = 0; i < kLayerTensors; ++i) {
        const auto tensor = static_cast<LayerTensor>(i);
        ASSERT_EQ(counts.contains(tensor), has_tensor(config, tensor)) << i;
        for (const int times : counts[tensor]) ASSERT_EQ(times, 1) << i << " of " << ranks;
      }
    }
  }
}

TEST(TurboMindLayout, GivesEveryRankFilesOfTheSameSizes) {
  std::map<std::string, uint64_t> bytes;
  for (const TurboMindLayerFile& file : turbomind_layer_files(grouped_model(true), 4))
    bytes[file.name] = file.bytes();
  for (const auto& [name, of_first] : bytes) {
    const size_t rank = name.find(".0.");
    if (rank == std::string::npos) continue;
    for (const char* other : {".1.", ".2.", ".3."})
      EXPECT_EQ(bytes.at(std::string(name).replace(rank, 3, other)), of_first) << name;
  }
}

TEST(TurboMindLayout, NamesNoFileTwice) {
  std::set<std::string> names;
  const auto files = turbomind_layer_files(grouped_model(true), 4);
  for (const int64_t layer : {0, 1, 11})
    for (const TurboMindLayerFile& file : files) names.insert(file.name_in(layer));
  EXPECT_EQ(names.size(), 3 * files.size());
  EXPECT_TRUE(names.contains("layers.11.attention.w_qkv.3.bias"));
}

TEST(TurboMindLayout, CopiesWhatAnEarlierFileHolds) {
  const auto files = turbomind_layer_files(grouped_model(true), 4);
  int64_t copies = 0;
  for (const TurboMindLayerFile& file : files) {
    if (!file.is_copy) continue;
    ++copies;
    const auto first =
        std::find_if(files.begin(), files.end(),
                     [&](const TurboMindLayerFile& other) { return other.tensor == file.tensor; });
    EXPECT_FALSE(first->is_copy);
    EXPECT_EQ(first->bytes(), file.bytes());
  }
  EXPECT_EQ(copies, 3);
}

}  // namespace
}  // namespace kvcalib
