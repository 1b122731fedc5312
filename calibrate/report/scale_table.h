// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/statistics/kv_scale.h"
#include "calibrate/statistics/kv_statistics.h"

namespace kvcalib {

// A channel of K or V, by its place in the statistics (K: in rotary pairs, 2j and 2j + 1).
struct Channel {
  int64_t kv_head = 0, channel = 0;
};

// K or V of one layer and serving rank as a person reads it.
struct TensorRow {
  TensorScale scale;
  // Of the 255 int8 steps, how many the median channel's own range spans: a few outlier channels
  // take the rest.  Unknown without statistics.
  std::optional<float> median_steps;
  // Where those are few: the channels that take the range, the farthest from zero first.
  std::vector<Channel> outliers;
};

// One layer and serving rank.
struct ScaleRow {
  int64_t layer = 0, rank = 0;
  std::array<TensorRow, kKvTensors.size()> tensors;  // in the order of kKvTensors
};

// Rows of all layers and ranks; `scales` is [layers, ranks].
std::vector<ScaleRow> scale_rows(const std::vector<KvScale>& scales, int64_t ranks,
                                 const KvStatistics* statistics);

// A table with a line per row: range that int8 can hold, scale and zero of K and V, steps.
std::string format_scale_table(const std::vector<ScaleRow>& rows);

// Sentences on the rows that stand out: a scale over three times the median of all layers, or a
// median channel that is left fewer than 16 of the 255 steps, with the channels that take the rest.
// Empty when none does.
std::vector<std::string> outlying_rows(const std::vector<ScaleRow>& rows);

nlohmann::ordered_json to_json(const std::vector<ScaleRow>& rows);

}  // namespace kvcalib
