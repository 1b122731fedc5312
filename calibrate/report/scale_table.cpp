// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/scale_table.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iomanip>
#include <sstream>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr float kOutlyingScale = 3.0F;  // times the median
constexpr float kFewSteps = 16.0F;      // of 255: under 4 bits
constexpr size_t kChannelsNamed = 6;    // of a row

float median(std::vector<float> values) {
  if (values.empty()) return 0.0F;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

float median_span(const std::vector<float>& minimum, const std::vector<float>& maximum,
                  size_t first, size_t last) {
  std::vector<float> spans;
  for (size_t i = first; i < last; ++i) spans.push_back(maximum[i] - minimum[i]);
  return median(std::move(spans));
}

MedianSteps median_steps(const KvStatistics& statistics, const ScaleRow& row, int64_t ranks) {
  const int64_t channels = statistics.kv_heads / ranks * statistics.head_dim;
  const auto first = static_cast<size_t>((row.layer * ranks + row.rank) * channels);
  const auto last = first + static_cast<size_t>(channels);
  return {median_span(statistics.keys.minimum, statistics.keys.maximum, first, last) /
              row.scale.k_scale,
          median_span(statistics.values.minimum, statistics.values.maximum, first, last) /
              row.scale.v_scale};
}

// The channels of a row that reach beyond half of the farthest, farthest first.
std::vector<Channel> far_channels(const KvStatistics& statistics, const std::vector<float>& minimum,
                                  const std::vector<float>& maximum, const ScaleRow& row,
                                  int64_t ranks) {
  const int64_t heads = statistics.kv_heads / ranks;
  const auto count = static_cast<size_t>(heads * statistics.head_dim);
  const size_t first = static_cast<size_t>(row.layer * ranks + row.rank) * count;
  std::vector<std::pair<float, size_t>> reach;
  for (size_t i = 0; i < count; ++i)
    reach.emplace_back(std::max(std::abs(minimum[first + i]), std::abs(maximum[first + i])), i);
  std::sort(reach.begin(), reach.end(), std::greater<>());
  std::vector<Channel> far;
  for (const auto& [distance, i] : reach) {
    if (distance < reach.front().first / 2) break;
    const auto channel = static_cast<int64_t>(i);
    far.push_back(
        {row.rank * heads + channel / statistics.head_dim, channel % statistics.head_dim});
  }
  return far;
}

void add_statistics(ScaleRow& row, const KvStatistics& statistics, int64_t ranks) {
  row.steps = median_steps(statistics, row, ranks);
  if (row.steps->key < kFewSteps)
    row.key_outliers =
        far_channels(statistics, statistics.keys.minimum, statistics.keys.maximum, row, ranks);
  if (row.steps->value < kFewSteps)
    row.value_outliers =
        far_channels(statistics, statistics.values.minimum, statistics.values.maximum, row, ranks);
}

// "kv head 0 channels 3, 17; kv head 2 channel 5"
std::string channel_list(const std::vector<Channel>& channels) {
  std::string text;
  int64_t head = -1;
  for (size_t i = 0; i < std::min(channels.size(), kChannelsNamed); ++i) {
    const bool same = channels[i].kv_head == head;
    head = channels[i].kv_head;
    text +=
        same ? concat(", ", channels[i].channel)
             : concat(text.empty() ? "" : "; ", "kv head ", head, " channel ", channels[i].channel);
  }
  if (channels.size() > kChannelsNamed)
    text += concat(" and ", channels.size() - kChannelsNamed, " more");
  return text;
}

nlohmann::ordered_json to_json(const std::vector<Channel>& channels) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Channel& channel : channels)
    list.push_back({{"kv_head", channel.kv_head}, {"channel", channel.channel}});
  return list;
}

// The reals that q = -128 and q = 127 stand for.
std::string held_range(float scale, float zero) {
  std::ostringstream text;
  text << std::setprecision(5) << zero - 128 * scale << " .. " << zero + 127 * scale;
  return text.str();
}

void write_half(std::ostringstream& line, float scale, float zero) {
  line << "  " << std::setw(22) << held_range(scale, zero) << std::setw(11) << std::setprecision(5)
       << scale << std::setw(11) << zero;
}

void describe(std::vector<std::string>& sentences, const ScaleRow& row, const char* what,
              float scale, float typical, std::optional<float> steps,
              const std::vector<Channel>& outliers) {
  const std::string where = concat("layer ", row.layer, " rank ", row.rank, ": ", what);
  if (scale > kOutlyingScale * typical)
    sentences.push_back(concat(where, " scale ", scale, " is ", std::setprecision(2),
                               scale / typical, " times the median of all layers"));
  if (steps && *steps < kFewSteps)
    sentences.push_back(concat(where, " has outlier channels: the median channel is left ",
                               std::setprecision(2), *steps, " of the 255 steps; farthest are ",
                               channel_list(outliers)));
}

}  // namespace

std::vector<ScaleRow> scale_rows(const std::vector<KvScale>& scales, int64_t ranks,
                                 const KvStatistics* statistics) {
  std::vector<ScaleRow> rows;
  for (size_t i = 0; i < scales.size(); ++i) {
    const auto index = static_cast<int64_t>(i);
    ScaleRow& row = rows.emplace_back();
    row.layer = index / ranks;
    row.rank = index % ranks;
    row.scale = scales[i];
    if (statistics != nullptr) add_statistics(row, *statistics, ranks);
  }
  return rows;
}

std::string format_scale_table(const std::vector<ScaleRow>& rows) {
  std::ostringstream table;
  const bool steps = !rows.empty() && rows.front().steps;
  table << "layer rank" << std::setw(24) << "K range" << std::setw(11) << "K scale" << std::setw(11)
        << "K zero" << std::setw(24) << "V range" << std::setw(11) << "V scale" << std::setw(11)
        << "V zero" << (steps ? "  median steps K, V" : "") << "\n";
  for (const ScaleRow& row : rows) {
    std::ostringstream line;
    line << std::setw(5) << row.layer << std::setw(5) << row.rank;
    write_half(line, row.scale.k_scale, row.scale.k_zero);
    write_half(line, row.scale.v_scale, row.scale.v_zero);
    if (row.steps)
      line << std::setprecision(3) << std::setw(11) << row.steps->key << std::setw(8)
           << row.steps->value;
    table << line.str() << "\n";
  }
  return table.str();
}

std::vector<std::string> outlying_rows(const std::vector<ScaleRow>& rows) {
  std::vector<float> key_scales, value_scales;
  for (const ScaleRow& row : rows) {
    key_scales.push_back(row.scale.k_scale);
    value_scales.push_back(row.scale.v_scale);
  }
  const float typical_key = median(key_scales);
  const float typical_value = median(value_scales);
  std::vector<std::string> sentences;
  for (const ScaleRow& row : rows) {
    const auto steps = [&](float MedianSteps::*which) {
      return row.steps ? std::optional<float>((*row.steps).*which) : std::nullopt;
    };
    describe(sentences, row, "K", row.scale.k_scale, typical_key, steps(&MedianSteps::key),
             row.key_outliers);
    describe(sentences, row, "V", row.scale.v_scale, typical_value, steps(&MedianSteps::value),
             row.value_outliers);
  }
  return sentences;
}

nlohmann::ordered_json to_json(const std::vector<ScaleRow>& rows) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const ScaleRow& row : rows) {
    nlohmann::ordered_json entry = {{"layer", row.layer},           {"rank", row.rank},
                                    {"k_scale", row.scale.k_scale}, {"k_zero", row.scale.k_zero},
                                    {"v_scale", row.scale.v_scale}, {"v_zero", row.scale.v_zero}};
    if (row.steps) {
      entry["k_median_steps"] = row.steps->key;
      entry["v_median_steps"] = row.steps->value;
      if (!row.key_outliers.empty()) entry["k_outlier_channels"] = to_json(row.key_outliers);
      if (!row.value_outliers.empty()) entry["v_outlier_channels"] = to_json(row.value_outliers);
    }
    list.push_back(entry);
  }
  return list;
}

}  // namespace kvcalib
