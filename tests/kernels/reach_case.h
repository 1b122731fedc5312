// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "kernels/numeric.h"
#include "kernels/pair_reach.h"
#include "tests/kernels/rotary_case.h"

namespace kvcalib::kernels {

// The operands of one call in host memory, and what it wrote: rows as a rotary_case has them, taken
// as rotated.
template <typename T>
struct ReachCase {
  explicit ReachCase(const RotaryShape& shape)
      : rows(shape),
        reach(static_cast<size_t>(kReachDirections * shape.kv_heads * shape.head_dim / 2),
              -std::numeric_limits<float>::infinity()) {}

  PairReachArguments<T> arguments() {
    return {.qkv = rows.qkv.data(),
            .positions = rows.positions.data(),
            .cosine = rows.cosine.data(),
            .sine = rows.sine.data(),
            .tokens = rows.shape.tokens,
            .length = rows.shape.length,
            .row_stride = rows.shape.row_stride(),
            .heads = rows.shape.heads,
            .kv_heads = rows.shape.kv_heads,
            .head_dim = rows.shape.head_dim,
            .reach = reach.data()};
  }

  // In double: [kReachDirections, kv_heads, head_dim / 2].
  std::vector<double> expected() {
    const RotaryShape& shape = rows.shape;
    const int64_t half = shape.head_dim / 2;
    std::vector<double> expected;
    for (int i = 0; i < kReachDirections; ++i)
      for (int64_t pair = 0; pair < shape.kv_heads * half; ++pair) {
        double most = -std::numeric_limits<double>::infinity();
        for (int64_t token = 0; token < shape.tokens; ++token) {
          const auto angle =
              static_cast<size_t>(rows.positions[static_cast<size_t>(token)] * half + pair % half);
          const int64_t head = shape.heads + pair / half, channel = 2 * (pair % half);
          const double x0 = to_float(rows.at(token, head, channel));
          const double x1 = to_float(rows.at(token, head, channel + 1));
          const double c = rows.cosine[angle], s = rows.sine[angle];
          const double direction = i * std::numbers::pi / 16;
          most = std::max(most, (c * x0 + s * x1) * std::cos(direction) +
                                    (c * x1 - s * x0) * std::sin(direction));
        }
        expected.push_back(most);
      }
    return expected;
  }

  RotaryCase<T> rows;
  std::vector<float> reach;
};

}  // namespace kvcalib::kernels
