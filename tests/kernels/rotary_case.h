// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <limits>
#include <ostream>
#include <vector>

#include "kernels/rotary_observe.h"
#include "tests/kernels/kernel_test_data.h"

namespace kvcalib::kernels {

// The dimensions of a call of rotary_observe.
struct RotaryShape {
  int64_t tokens, length, heads, kv_heads, head_dim, padding;
  bool bias, query_scale;

  int64_t columns() const { return (heads + 2 * kv_heads) * head_dim; }
  int64_t row_stride() const { return columns() + padding; }
};

inline std::ostream& operator<<(std::ostream& out, const RotaryShape& shape) {
  return out << shape.tokens << " tokens of " << shape.length << ", heads " << shape.heads << '/'
             << shape.kv_heads << " x " << shape.head_dim << ", padding " << shape.padding
             << (shape.bias ? ", bias" : "") << (shape.query_scale ? ", query scale" : "");
}

// Whole and cut vector widths, one and several kv heads, no query heads, windows shorter than the
// tokens, strides that break alignment.
inline std::vector<RotaryShape> rotary_shapes() {
  return {
      {5, 5, 2, 2, 128, 0, false, false},  {70, 7, 4, 1, 128, 0, true, true},
      {131, 64, 6, 2, 128, 8, true, true}, {9, 4, 2, 1, 8, 0, true, false},
      {9, 4, 2, 1, 8, 0, true, true},      {6, 100, 0, 3, 64, 16, false, false},
      {6, 3, 0, 1, 128, 0, true, false},   {65, 65, 3, 3, 6, 1, false, true},
      {65, 2, 3, 1, 2, 5, true, false},    {7, 3, 5, 5, 20, 3, true, true},
      {4, 2, 1, 1, 256, 1, false, false},  {3, 1, 9, 3, 96, 0, false, true},
  };
}

// The operands of one call in host memory, and what it wrote.
template <typename T>
struct RotaryCase {
  explicit RotaryCase(const RotaryShape& shape)
      : shape(shape),
        qkv(random_values<T>(shape.tokens * shape.row_stride(), 5, 3.0f)),
        bias(random_values<T>(shape.columns(), 6)) {
    const float infinity = std::numeric_limits<float>::infinity();
    for (int64_t token = 0; token < shape.tokens; ++token)
      positions.push_back(static_cast<int32_t>((5 + token) % shape.length));
    for (int64_t position = 0; position < shape.length; ++position) {
      for (int64_t j = 0; j < shape.head_dim / 2; ++j) {
        const double turn = static_cast<double>(2 * j) / static_cast<double>(shape.head_dim);
        const double angle = static_cast<double>(position) * std::pow(10000.0, -turn);
        cosine.push_back(static_cast<float>(std::cos(angle)));
        sine.push_back(static_cast<float>(std::sin(angle)));
      }
      query_scale.push_back(1.0f + 0.013f * static_cast<float>(position));
    }
    for (int i = 0; i < 4; ++i) {
      ranges[i].assign(static_cast<size_t>(shape.kv_heads * shape.head_dim),
                       i % 2 == 0 ? infinity : -infinity);
    }
  }

  RotaryObserveArguments<T> arguments() {
    RotaryObserveArguments<T> result;
    result.qkv = qkv.data();
    result.bias = shape.bias ? bias.data() : nullptr;
    result.positions = positions.data();
    result.cosine = cosine.data();
    result.sine = sine.data();
    result.query_scale = shape.query_scale ? query_scale.data() : nullptr;
    result.tokens = shape.tokens;
    result.length = shape.length;
    result.row_stride = shape.row_stride();
    result.heads = shape.heads;
    result.kv_heads = shape.kv_heads;
    result.head_dim = shape.head_dim;
    result.nonfinite = &nonfinite;
    if (!observes) return result;
    result.keys = {ranges[0].data(), ranges[1].data()};
    result.values = {ranges[2].data(), ranges[3].data()};
    return result;
  }

  // The element of a token's head, counting the q, then k, then v heads.
  T& at(int64_t token, int64_t head, int64_t channel) {
    return qkv[token * shape.row_stride() + head * shape.head_dim + channel];
  }

  RotaryShape shape;
  std::vector<T> qkv, bias;
  std::vector<int32_t> positions;  // in windows of `length` that begin at position 5
  std::vector<float> cosine, sine, query_scale;
  std::array<std::vector<float>, 4>
      ranges;  // key minimum, key maximum, value minimum, value maximum
  int nonfinite = 0;
  bool observes = true;  // else the call gets no ranges
};

}  // namespace kvcalib::kernels
