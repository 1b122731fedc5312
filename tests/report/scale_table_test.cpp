// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/scale_table.h"

#include <gtest/gtest.h>

#include <sstream>

#include "tests/message_of.h"

namespace kvcalib {
namespace {

constexpr int64_t kLayers = 3, kHeads = 4, kChannels = 8, kRanks = 2;

// Every channel of K and V within [-1, 1].
KvStatistics even_statistics() {
  KvStatistics statistics(kLayers, kHeads, kChannels);
  for (const KvTensor& tensor : kKvTensors) {
    auto& [minimum, maximum] = statistics.*tensor.statistics;
    minimum.assign(minimum.size(), -1.0f);
    maximum.assign(maximum.size(), 1.0f);
  }
  return statistics;
}

std::vector<ScaleRow> rows_of(const KvStatistics& statistics) {
  return scale_rows(compute_scales(statistics, kRanks, ScaleMethod::kAsymmetric), kRanks,
                    &statistics);
}

// Of K and V in turn: the only channel that reaches 100 is channel 5 of kv head 3 in layer 1.
class OutlierTest : public testing::TestWithParam<size_t> {
 protected:
  static KvStatistics with_outlier() {
    KvStatistics statistics = even_statistics();
    auto& maximum = (statistics.*kKvTensors[GetParam()].statistics).maximum;
    maximum[(1 * kHeads + 3) * kChannels + 5] = 100.0f;
    return statistics;
  }
};

TEST(ScaleTable, HasARowForEveryLayerAndRank) {
  const std::vector<ScaleRow> rows = rows_of(even_statistics());
  ASSERT_EQ(rows.size(), static_cast<size_t>(kLayers * kRanks));
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].layer * kRanks + rows[i].rank, static_cast<int64_t>(i));
    EXPECT_LT(rows[i].rank, kRanks);
  }
  std::istringstream lines(format_scale_table(rows));
  std::string line;
  std::getline(lines, line);
  EXPECT_HOLDS("median steps K, V", line);
  const size_t width = line.size() - std::string("  median steps K, V").size();
  for (size_t i = 0; i < rows.size(); ++i) {
    ASSERT_TRUE(std::getline(lines, line));
    EXPECT_EQ(line.size(), width + 11 + 8) << line;
  }
  EXPECT_FALSE(std::getline(lines, line));
}

TEST(ScaleTable, FindsNothingOutlyingWhereAllChannelsAreAlike) {
  const std::vector<ScaleRow> rows = rows_of(even_statistics());
  EXPECT_TRUE(outlying_rows(rows).empty());
  for (const ScaleRow& row : rows)
    for (const TensorRow& tensor : row.tensors) {
      EXPECT_NEAR(tensor.median_steps.value(), 255.0f, 0.01f);
      EXPECT_TRUE(tensor.outliers.empty());
    }
}

TEST_P(OutlierTest, IsNamedWithItsLayerRankHeadAndChannel) {
  const std::vector<std::string> sentences = outlying_rows(rows_of(with_outlier()));
  ASSERT_EQ(sentences.size(), 2U);  // a wide scale, and few steps for the others
  const std::string place = concat("layer 1 rank 1: ", kKvTensors[GetParam()].symbol);
  for (const std::string& sentence : sentences) EXPECT_TRUE(sentence.starts_with(place));
  EXPECT_HOLDS("times the median of all layers", sentences[0]);
  EXPECT_HOLDS("farthest are kv head 3 channel 5", sentences[1]);
}

TEST_P(OutlierTest, StandsInTheJsonOfItsRowOnly) {
  const std::string key = GetParam() == 0 ? "k_outlier_channels" : "v_outlier_channels";
  const nlohmann::ordered_json rows = to_json(rows_of(with_outlier()));
  for (const nlohmann::ordered_json& row : rows) {
    const bool its_row = row.at("layer") == 1 && row.at("rank") == 1;
    EXPECT_EQ(row.contains(key), its_row);
    if (its_row) {
      EXPECT_EQ(row.at(key).dump(), R"([{"kv_head":3,"channel":5}])");
    }
    EXPECT_TRUE(row.contains("k_median_steps") && row.contains("v_median_steps"));
  }
}

INSTANTIATE_TEST_SUITE_P(OfKAndOfV, OutlierTest, testing::Values(0, 1));

TEST(ScaleTable, TellsNoStepsWithoutStatistics) {
  const std::vector<KvScale> scales(2, KvScale{0.5f, 1.0f, 0.25f, -1.0f});
  const std::vector<ScaleRow> rows = scale_rows(scales, 1, nullptr);
  EXPECT_EQ(format_scale_table(rows).find("median"), std::string::npos);
  const nlohmann::ordered_json json = to_json(rows);
  EXPECT_EQ(json[1].dump(), R"({"layer":1,"rank":0,"k_scale":0.5,"k_zero":1.0,"v_scale":0.25,)"
                            R"("v_zero":-1.0})");
}

TEST(ScaleTable, ShowsTheRangeThatInt8Holds) {
  const std::vector<ScaleRow> rows = scale_rows({KvScale{0.5f, 1.0f, 0.25f, 0.0f}}, 1, nullptr);
  const std::string table = format_scale_table(rows);
  EXPECT_HOLDS("-63 .. 64.5", table);
  EXPECT_HOLDS("-32 .. 31.75", table);
}

}  // namespace
}  // namespace kvcalib
