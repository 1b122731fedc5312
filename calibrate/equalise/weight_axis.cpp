// SPDX-License-Identifier: Apache-2.0
#include "calibrate/equalise/weight_axis.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/numeric.h"

namespace kvcalib {
namespace {

using kernels::Bfloat16;
using kernels::Half;

bool takes_factors(LayerTensor tensor, const ModelConfig& config) {
  switch (tensor) {
    case LayerTensor::kQkv:
    case LayerTensor::kQkvBias:
    case LayerTensor::kOutput:
      return true;
    case LayerTensor::kQueryNorm:
    case LayerTensor::kKeyNorm:
      return config.query_key_norm;
    default:
      return false;
  }
}

// Calls work(array of T), T being the elements' type.
template <typename Bytes, typename Work>
auto typed(ElementType type, std::span<Bytes> bytes, const Work& work) {
  const auto elements = [&]<typename T>(T /*type*/) {
    using Element = std::conditional_t<std::is_const_v<Bytes>, const T, T>;
    return std::span(reinterpret_cast<Element*>(bytes.data()), bytes.size() / sizeof(T));
  };
  switch (type) {
    case ElementType::kFloat16:
      return work(elements(Half{}));
    case ElementType::kBFloat16:
      return work(elements(Bfloat16{}));
    default:
      return work(elements(0.0f));
  }
}

// Calls work(i, entry) for each of `count` elements of which the first is number `first`.
template <typename Work>
void for_each_element(size_t count, size_t first, const WeightAxis& axis, const Work& work) {
  const auto width = static_cast<size_t>(axis.width);
  size_t row = first / width, column = first % width;
  for (size_t i = 0; i < count; ++row, column = 0) {
    const size_t end = std::min(count, i + width - column);
    for (; i < end; ++i, ++column) work(i, axis.entry[axis.by_row ? row : column]);
  }
}

// Exponents of the largest number and of the smallest bit of a type.
struct Limits {
  int highest, lowest;
};
Limits limits_of(ElementType type) {
  switch (type) {
    case ElementType::kFloat16:
      return {15, -24};
    case ElementType::kBFloat16:
      return {127, -133};
    default:
      return {127, -149};
  }
}

BitReach reach_of(float value) {
  if (value == 0.0f) return {};
  constexpr int kFraction = 52, kBias = 1023;
  const auto bits = std::bit_cast<uint64_t>(std::fabs(static_cast<double>(value)));
  const int exponent = static_cast<int>(bits >> kFraction) - kBias;
  return {exponent, exponent - kFraction + std::countr_zero(bits | (uint64_t{1} << kFraction))};
}

}  // namespace

std::vector<double> axis_factors(LayerTensor tensor, const ModelConfig& config,
                                 const LayerFactors& factors) {
  if (!takes_factors(tensor, config)) return {};
  const int64_t dim = config.head_dim, group = config.heads / config.kv_heads;
  std::vector<double> axis;
  const auto add_keys = [&](int64_t head, bool are_queries) {
    for (int64_t channel = 0; channel < dim; ++channel) {
      const double factor = factors.keys[static_cast<size_t>((head * dim + channel) / 2)];
      axis.push_back(are_queries ? 1.0 / factor : factor);
    }
  };
  if (tensor == LayerTensor::kQueryNorm || tensor == LayerTensor::kKeyNorm) {
    add_keys(0, tensor == LayerTensor::kQueryNorm);
    return axis;
  }
  if (tensor == LayerTensor::kOutput) {
    for (int64_t i = 0; i < config.heads * dim; ++i) {
      const int64_t head = i / dim / group;
      axis.push_back(1.0 / factors.values[static_cast<size_t>(head * dim + i % dim)]);
    }
    return axis;
  }
  for (int64_t head = 0; head < config.heads; ++head) add_keys(head / group, true);
  for (int64_t head = 0; head < config.kv_heads; ++head) add_keys(head, false);
  if (config.query_key_norm) std::fill(axis.begin(), axis.end(), 1.0);
  axis.insert(axis.end(), factors.values.begin(), factors.values.end());
  return axis;
}

std::optional<WeightAxis> weight_axis(const LayerPlan& plan, const FileRange& range,
                                      const ModelConfig& config) {
  std::optional<WeightAxis> axis;
  for (const TensorBlock& block : plan.blocks) {
    if (block.image_offset < range.image_offset ||
        block.image_offset >= range.image_offset + range.bytes)
      continue;
    if (!takes_factors(block.tensor, config)) return std::nullopt;
    const bool rows = block.tensor == LayerTensor::kOutput;
    const int64_t stride = rows ? block.row_stride : block.column_stride;
    const int64_t other = rows ? block.column_stride : block.row_stride;
    if (!axis) {
      const bool by_row = stride >= other;
      const int64_t width = by_row ? stride : other;
      const auto elements = static_cast<int64_t>(range.bytes / element_bytes(range.type));
      axis = {block.tensor, range.type, width, by_row, {}};
      axis->entry.resize(static_cast<size_t>(by_row ? elements / width : width));
    }
    const auto first =
        static_cast<int64_t>((block.image_offset - range.image_offset) / element_bytes(range.type));
    const int64_t place = axis->by_row ? first / axis->width : first % axis->width;
    for (int64_t i = 0; i < (rows ? block.rows : block.columns); ++i)
      axis->entry[static_cast<size_t>(place + i)] =
          static_cast<size_t>(rows ? block.row + i : block.column + i * block.column_step);
  }
  return axis;
}

bool multiply_weights(std::span<std::byte> elements, size_t first, const WeightAxis& axis,
                      std::span<const double> factors) {
  return typed(axis.type, elements, [&]<typename T>(std::span<T> values) {
    bool is_finite = true;
    for_each_element(values.size(), first, axis, [&](size_t i, size_t entry) {
      const auto product = static_cast<float>(kernels::to_float(values[i]) * factors[entry]);
      if (factors[entry] != 1.0) values[i] = kernels::from_float<T>(product);
      is_finite = is_finite && std::isfinite(kernels::to_float(values[i]));
    });
    return is_finite;
  });
}

void BitReach::add(const BitReach& other) {
  highest = std::max(highest, other.highest);
  lowest = std::min(lowest, other.lowest);
}

void add_reach(std::span<const std::byte> elements, size_t first, const WeightAxis& axis,
               std::span<BitReach> reach) {
  typed(axis.type, elements, [&](auto values) {
    for_each_element(values.size(), first, axis, [&](size_t i, size_t entry) {
      reach[entry].add(reach_of(kernels::to_float(values[i])));
    });
  });
}

int most_up(const BitReach& reach, ElementType type) {
  const int64_t room = int64_t{limits_of(type).highest} - reach.highest;
  return static_cast<int>(std::clamp<int64_t>(room, 0, kLargestExponent));
}

int most_down(const BitReach& reach, ElementType type) {
  const int64_t room = int64_t{reach.lowest} - limits_of(type).lowest;
  return static_cast<int>(std::clamp<int64_t>(room, 0, kLargestExponent));
}

}  // namespace kvcalib
