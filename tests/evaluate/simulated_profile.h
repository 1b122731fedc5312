// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include "calibrate/engine/layer_profile.h"
#include "calibrate/statistics/kv_scale.h"

namespace kvcalib {

// Where the values of K and V of one layer and rank lie.
struct SimulatedTensor {
  double center = 0, deviation = 1;
};

// A model's K and V as random values with tails, by layer and rank (of one kv head each).
struct SimulatedModel {
  struct Rank {
    SimulatedTensor keys, values;
  };

  int64_t ranks = 1;
  std::vector<Rank> parts;  // [layers, ranks]
};

inline std::vector<double> simulated_values(const SimulatedTensor& tensor, uint64_t seed,
                                            size_t count) {
  std::mt19937_64 generator(seed);
  std::vector<double> values;
  while (values.size() < count) {
    double sum = -2;  // of four uniform numbers: about normal
    for (int i = 0; i < 4; ++i) sum += static_cast<double>(generator() >> 11U) * 0x1p-53;
    sum *= 1.7320508075688772;  // to a deviation of 1
    values.push_back(tensor.center + tensor.deviation * (sum + 0.05 * sum * sum * sum));
  }
  return values;
}

inline constexpr size_t kSimulatedTokens = 20000;

inline TensorScale min_max_scale(const SimulatedTensor& tensor, uint64_t seed) {
  const std::vector<double> values = simulated_values(tensor, seed, 2 * kSimulatedTokens);
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return {static_cast<float>((*high - *low) / 255), static_cast<float>((*high + *low) / 2)};
}

// Asymmetric min/max scales of one text.
inline std::vector<KvScale> simulated_scales(const SimulatedModel& model) {
  std::vector<KvScale> scales;
  uint64_t seed = 1000;
  for (const SimulatedModel::Rank& part : model.parts) {
    const TensorScale key = min_max_scale(part.keys, ++seed);
    const TensorScale value = min_max_scale(part.values, ++seed);
    scales.push_back({key.scale, key.zero, value.scale, value.zero});
  }
  return scales;
}

inline void quantize(const SimulatedTensor& tensor, const TensorScale& scale, uint64_t seed,
                     std::vector<CodeUse>& codes, std::vector<SquaredError>& errors) {
  CodeUse& use = codes.emplace_back();
  SquaredError& squares = errors.emplace_back();
  for (const double value : simulated_values(tensor, seed, kSimulatedTokens)) {
    const double exact = (value - scale.zero) / scale.scale;
    const double code = std::clamp(std::nearbyint(exact), -128.0, 127.0);
    ++use.values;
    use.clipped += exact > 128 || exact < -129 ? 1 : 0;
    use.lowest = std::min(use.lowest, static_cast<int32_t>(code));
    use.highest = std::max(use.highest, static_cast<int32_t>(code));
    const double error = value - (code * scale.scale + scale.zero);
    squares.error += error * error;
    squares.size += value * value;
  }
}

// What those scales do to another text.
inline StreamProfile simulated_profile(const SimulatedModel& model,
                                       std::span<const KvScale> scales) {
  StreamProfile profile(model.parts.size() / model.ranks);
  for (size_t i = 0; i < model.parts.size(); ++i) {
    LayerProfile& layer = profile[i / model.ranks];
    quantize(model.parts[i].keys, scales[i].key(), 2 * i, layer.key_codes, layer.key_error);
    quantize(model.parts[i].values, scales[i].value(), 2 * i + 1, layer.value_codes,
             layer.value_error);
    layer.both_error.push_back({layer.key_error.back().error + layer.value_error.back().error,
                                layer.key_error.back().size});
    layer.hidden_error = {1, 100};
  }
  return profile;
}

// Six layers on two ranks, about as wide as those of a small Llama.
inline SimulatedModel small_model() {
  return {2,
          {{{-0.4, 0.7}, {-0.3, 0.4}},
           {{0.1, 0.6}, {-0.1, 0.4}},
           {{0.3, 1.2}, {0.0, 0.6}},
           {{-0.9, 1.6}, {0.4, 0.6}},
           {{0.1, 2.9}, {0.1, 0.9}},
           {{0.9, 2.8}, {0.1, 0.9}},
           {{0.0, 2.1}, {-0.1, 1.1}},
           {{0.4, 1.3}, {0.1, 0.7}},
           {{1.5, 1.9}, {0.3, 1.3}},
           {{-0.6, 1.7}, {-0.2, 0.8}},
           {{1.2, 2.4}, {0.5, 1.5}},
           {{-1.2, 1.1}, {0.2, 1.2}}}};
}

}  // namespace kvcalib
