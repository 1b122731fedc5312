// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/scale_table.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iomanip>
#include <sstream>
#include <utility>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr float kOutlyingScale = 3.0F;  // times the median
constexpr float kFewSteps = 16.0F;      // of 255: under 4 bits
constexpr size_t kChannelsNamed = 6;    // of a row
constexpr size_t kTensors = kKvTensors.size();
constexpr std::array<const char*, kTensors> kJsonNames = {"k", "v"};  // before _scale, _zero

float median(std::vector<float> values) {
  if (values.empty()) return 0.0F;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

float median_span(const ChannelStatistics& channels) {
  std::vector<float> spans;
  for (size_t i = 0; i < channels.minimum.size(); ++i)
    spans.push_back(channels.maximum[i] - channels.minimum[i]);
  return median(std::move(spans));
}

// Those that reach beyond half of the farthest, farthest first: their indices.
std::vector<size_t> far_channels(const ChannelStatistics& channels) {
  std::vector<std::pair<float, size_t>> reach;
  for (size_t i = 0; i < channels.minimum.size(); ++i)
    reach.emplace_back(std::max(std::abs(channels.minimum[i]), std::abs(channels.maximum[i])), i);
  std::sort(reach.begin(), reach.end(), std::greater<>());
  std::vector<size_t> far;
  for (const auto& [distance, index] : reach) {
    if (distance < reach.front().first / 2) break;
    far.push_back(index);
  }
  return far;
}

void add_statistics(ScaleRow& row, const KvStatistics& statistics, int64_t ranks) {
  const int64_t heads = statistics.kv_heads / ranks;
  for (size_t t = 0; t < kTensors; ++t) {
    TensorRow& tensor = row.tensors[t];
    const ChannelStatistics channels = statistics.part(kKvTensors[t], row.layer, row.rank, ranks);
    tensor.median_steps = median_span(channels) / tensor.scale.scale;
    if (*tensor.median_steps >= kFewSteps) continue;
    for (const size_t index : far_channels(channels)) {
      const auto channel = static_cast<int64_t>(index);
      tensor.outliers.push_back(
          {row.rank * heads + channel / statistics.head_dim, channel % statistics.head_dim});
    }
  }
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
std::string held_range(const TensorScale& how) {
  std::ostringstream text;
  text << std::setprecision(5) << how.zero - 128 * how.scale << " .. "
       << how.zero + 127 * how.scale;
  return text.str();
}

void describe(std::vector<std::string>& sentences, const ScaleRow& row, size_t tensor,
              float typical_scale) {
  const auto& [how, steps, outliers] = row.tensors[tensor];
  const std::string where =
      concat("layer ", row.layer, " rank ", row.rank, ": ", kKvTensors[tensor].symbol);
  if (how.scale > kOutlyingScale * typical_scale)
    sentences.push_back(concat(where, " scale ", how.scale, " is ", std::setprecision(2),
                               how.scale / typical_scale, " times the median of all layers"));
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
    row.tensors = {{{scales[i].key(), {}, {}}, {scales[i].value(), {}, {}}}};
    if (statistics != nullptr) add_statistics(row, *statistics, ranks);
  }
  return rows;
}

std::string format_scale_table(const std::vector<ScaleRow>& rows) {
  std::ostringstream table;
  table << "layer rank";
  for (const KvTensor& tensor : kKvTensors)
    for (const auto& [width, column] : {std::pair{24, " range"}, {11, " scale"}, {11, " zero"}})
      table << std::setw(width) << concat(tensor.symbol, column);
  const bool steps = !rows.empty() && rows.front().tensors.front().median_steps;
  table << (steps ? "  median steps K, V" : "") << "\n";
  for (const ScaleRow& row : rows) {
    std::ostringstream line;
    line << std::setw(5) << row.layer << std::setw(5) << row.rank << std::setprecision(5);
    for (const TensorRow& tensor : row.tensors)
      line << "  " << std::setw(22) << held_range(tensor.scale) << std::setw(11)
           << tensor.scale.scale << std::setw(11) << tensor.scale.zero;
    line << std::setprecision(3);
    int width = 11;
    for (const TensorRow& tensor : row.tensors) {
      if (tensor.median_steps) line << std::setw(width) << *tensor.median_steps;
      width = 8;
    }
    table << line.str() << "\n";
  }
  return table.str();
}

std::vector<std::string> outlying_rows(const std::vector<ScaleRow>& rows) {
  std::array<float, kTensors> typical_scales{};
  for (size_t tensor = 0; tensor < kTensors; ++tensor) {
    std::vector<float> scales;
    for (const ScaleRow& row : rows) scales.push_back(row.tensors[tensor].scale.scale);
    typical_scales[tensor] = median(std::move(scales));
  }
  std::vector<std::string> sentences;
  for (const ScaleRow& row : rows)
    for (size_t tensor = 0; tensor < kTensors; ++tensor)
      describe(sentences, row, tensor, typical_scales[tensor]);
  return sentences;
}

nlohmann::ordered_json to_json(const std::vector<ScaleRow>& rows) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const ScaleRow& row : rows) {
    nlohmann::ordered_json entry = {{"layer", row.layer}, {"rank", row.rank}};
    const auto for_each_tensor = [&](auto add) {
      for (size_t t = 0; t < kTensors; ++t) add(std::string(kJsonNames[t]), row.tensors[t]);
    };
    for_each_tensor([&](const std::string& name, const TensorRow& tensor) {
      entry[name + "_scale"] = tensor.scale.scale;
      entry[name + "_zero"] = tensor.scale.zero;
    });
    for_each_tensor([&](const std::string& name, const TensorRow& tensor) {
      if (tensor.median_steps) entry[name + "_median_steps"] = *tensor.median_steps;
    });
    for_each_tensor([&](const std::string& name, const TensorRow& tensor) {
      if (!tensor.outliers.empty()) entry[name + "_outlier_channels"] = to_json(tensor.outliers);
    });
    list.push_back(entry);
  }
  return list;
}

}  // namespace kvcalib
