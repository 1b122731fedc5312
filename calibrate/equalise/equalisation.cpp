// SPDX-License-Identifier: Apache-2.0
#include "calibrate/equalise/equalisation.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "calibrate/equalise/weight_axis.h"
#include "sharding/files/error.h"
#include "sharding/files/ranged_file.h"

namespace kvcalib {
namespace {

constexpr size_t kReadBytes = size_t{1} << 20;

// How far each entry of a tensor's axis can go.
struct AxisReach {
  std::vector<int> up, down;
};
using LayerReach = std::map<LayerTensor, AxisReach>;

void read_reach(const FileRange& range, const WeightAxis& axis, std::vector<BitReach>& reach,
                const std::function<bool()>& stopped) {
  const RangedFile file(range.file);
  std::vector<std::byte> bytes(std::min<uint64_t>(kReadBytes, range.bytes));
  for (uint64_t done = 0; done < range.bytes; done += bytes.size()) {
    if (stopped && stopped()) throw Error("stopped; nothing was written");
    const auto part = std::span(bytes).first(std::min(bytes.size(), range.bytes - done));
    file.read(range.offset + done, part);
    add_reach(part, done / element_bytes(range.type), axis, reach);
  }
}

// Of one layer's weights.
LayerReach reach_of_layer(const WeightDirectory& weights, int64_t layer,
                          const std::function<bool()>& stopped) {
  LayerReach result;
  const LayerPlan plan = weights.layer_plan(layer);
  for (const FileRange& range : plan.ranges) {
    const auto axis = weight_axis(plan, range, weights.config());
    if (!axis) continue;
    const auto [rows, columns] = tensor_shape(weights.config(), axis->tensor);
    const auto entries = static_cast<size_t>(axis->tensor == LayerTensor::kOutput ? rows : columns);
    std::vector<BitReach> reach(entries);
    read_reach(range, *axis, reach, stopped);
    AxisReach& found = result[axis->tensor];
    found.up.resize(entries, kLargestExponent);
    found.down.resize(entries, kLargestExponent);
    for (size_t i = 0; i < entries; ++i) {
      found.up[i] = std::min(found.up[i], most_up(reach[i], range.type));
      found.down[i] = std::min(found.down[i], most_down(reach[i], range.type));
    }
  }
  return result;
}

// The exponents that the weights of one layer can take: K's [kv_heads, head_dim / 2], V's
// [kv_heads, head_dim].
struct Room {
  std::vector<int> keys, values;
};

// Takes off what entries [first, first + entries) of an axis cannot take; entry i is of channel
// channel_of(i) among `room`.
template <typename ChannelOf>
void restrict_to(const std::vector<int>& most, int64_t first, int64_t entries,
                 const ChannelOf& channel_of, std::vector<int>& room) {
  for (int64_t i = 0; i < entries; ++i) {
    int& channel = room[static_cast<size_t>(channel_of(i))];
    channel = std::min(channel, most[static_cast<size_t>(first + i)]);
  }
}

Room room_of(const ModelConfig& config, const LayerReach& reach) {
  const int64_t dim = config.head_dim, group = config.heads / config.kv_heads;
  const int64_t q = config.heads * dim, kv = config.kv_heads * dim;
  Room room{std::vector<int>(static_cast<size_t>(kv / 2), kLargestExponent),
            std::vector<int>(static_cast<size_t>(kv), kLargestExponent)};
  const auto pair = [&](int64_t i) { return i / 2; };
  const auto channel = [&](int64_t i) { return i; };
  const auto channel_of_query = [&](int64_t i) { return i / dim / group * dim + i % dim; };
  const auto pair_of_query = [&](int64_t i) { return channel_of_query(i) / 2; };
  for (const auto& [tensor, most] : reach) {
    if (tensor == LayerTensor::kOutput) restrict_to(most.down, 0, q, channel_of_query, room.values);
    if (tensor == LayerTensor::kQueryNorm) restrict_to(most.down, 0, dim, pair, room.keys);
    if (tensor == LayerTensor::kKeyNorm) restrict_to(most.up, 0, dim, pair, room.keys);
    if (tensor != LayerTensor::kQkv && tensor != LayerTensor::kQkvBias) continue;
    restrict_to(most.up, q + kv, kv, channel, room.values);
    if (config.query_key_norm) continue;
    restrict_to(most.down, 0, q, pair_of_query, room.keys);
    restrict_to(most.up, q, kv, pair, room.keys);
  }
  return room;
}

std::vector<double> exact_factors(const std::vector<int>& even, const std::vector<int>& room,
                                  FactorCounts& counts) {
  std::vector<double> factors;
  for (size_t i = 0; i < even.size(); ++i) {
    const int exponent = std::min(even[i], room[i]);
    if (exponent < even[i]) ++counts.held;
    factors.push_back(std::ldexp(1.0, exponent));
  }
  return factors;
}

void count(const std::vector<float>& ranges, const std::vector<double>& factors,
           FactorCounts& counts) {
  for (size_t i = 0; i < ranges.size(); ++i) {
    ++counts.all;
    if (ranges[i] <= 0.0f) ++counts.still;
    if (factors[i] >= kLargestFactor || factors[i] <= 1.0 / kLargestFactor) ++counts.bounded;
  }
}

LayerFactors exact_layer(const WeightDirectory& weights, const KvStatistics& statistics,
                         int64_t layer, const std::function<bool()>& stopped,
                         Equalisation& result) {
  const ModelConfig& config = weights.config();
  Room room = room_of(config, reach_of_layer(weights, layer, stopped));
  std::vector<int> keys =
      even_exponents(statistics.part(kKvTensors[0], layer, 0, 1), config.head_dim, 2);
  const std::vector<int> values =
      even_exponents(statistics.part(kKvTensors[1], layer, 0, 1), config.head_dim, 1);
  if (config.query_key_norm) {  // all heads have the first one's
    keys = smallest_over_heads(keys, config.head_dim / 2);
    for (size_t i = 0; i < room.keys.size(); ++i)
      room.keys[i] = room.keys[i % static_cast<size_t>(config.head_dim / 2)];
  }
  return {exact_factors(keys, room.keys, result.keys),
          exact_factors(values, room.values, result.values)};
}

LayerFactors free_layer(const ModelConfig& config, const LayerRanges& ranges) {
  return {even_factors(config.query_key_norm ? largest_over_heads(ranges.keys, config.head_dim / 2)
                                             : ranges.keys),
          even_factors(ranges.values)};
}

}  // namespace

Equalisation plan_equalisation(const WeightDirectory& weights, const KvStatistics& statistics,
                               FactorRule rule, const std::function<bool()>& stopped) {
  Equalisation result;
  for (int64_t layer = 0; layer < statistics.layers; ++layer) {
    const LayerRanges ranges = ranges_of(statistics, layer);
    result.layers.push_back(rule == FactorRule::kExact
                                ? exact_layer(weights, statistics, layer, stopped, result)
                                : free_layer(weights.config(), ranges));
    count(ranges.keys, result.layers.back().keys, result.keys);
    count(ranges.values, result.layers.back().values, result.values);
  }
  return result;
}

}  // namespace kvcalib
