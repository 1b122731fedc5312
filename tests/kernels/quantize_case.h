// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <limits>
#include <ostream>
#include <vector>

#include "kernels/quantize_dequantize.h"
#include "tests/kernels/kernel_test_data.h"

namespace kvcalib::kernels {

inline constexpr std::array kCacheCodes{CacheCode::kSixteenBits, CacheCode::kInt8,
                                        CacheCode::kInt8OfToken, CacheCode::kFloat8};

// The dimensions of a call of quantize_dequantize.
struct QuantizeShape {
  int64_t tokens, kv_heads, head_dim, others;  // others: columns behind the heads

  int64_t columns() const { return kv_heads * head_dim; }
  int64_t row_stride() const { return columns() + others; }
};

inline std::ostream& operator<<(std::ostream& out, const QuantizeShape& shape) {
  return out << shape.tokens << " tokens, " << shape.kv_heads << " x " << shape.head_dim << ", "
             << shape.others << " others";
}

// Every head_dim of the families, odd ones, more heads than a block of threads has, strides that
// break alignment.
inline std::vector<QuantizeShape> quantize_shapes() {
  return {{5, 4, 128, 1024}, {37, 1, 64, 0},  {7, 3, 80, 80},   {130, 2, 96, 0},  {3, 2, 256, 256},
          {9, 40, 128, 0},   {6, 2, 128, 3},  {130, 3, 6, 6},   {3, 2, 1, 0},     {4, 1, 255, 1},
          {70, 5, 8, 8},     {33, 9, 24, 16}, {1, 64, 128, 64}, {1000, 1, 128, 8}};
}

// The operands of one call in host memory, and what it wrote.
template <typename T>
struct QuantizeCase {
  QuantizeCase(const QuantizeShape& shape, CacheCode code, CacheType type = CacheType::kHalf)
      : shape(shape),
        code(code),
        type(type),
        values(random_values<T>(shape.tokens * shape.row_stride(), 21, 2.0f)),
        scale(random_values<float>(shape.columns(), 22)),
        zero(random_values<float>(shape.columns(), 23, 0.3f)),
        counts(static_cast<size_t>(shape.kv_heads)) {
    const float largest_code = code == CacheCode::kFloat8 ? 448.0f : 127.0f;
    for (float& step : scale)  // of which the values go beyond the ends now and then
      step = (std::abs(step) * 6 + 1.0f) / largest_code;
  }

  QuantizeDequantizeArguments<T> arguments() {
    QuantizeDequantizeArguments<T> result;
    result.values = values.data();
    result.tokens = shape.tokens;
    result.row_stride = shape.row_stride();
    result.kv_heads = shape.kv_heads;
    result.head_dim = shape.head_dim;
    result.code = code;
    result.type = type;
    const bool is_int8 = code == CacheCode::kInt8 || code == CacheCode::kInt8OfToken;
    if (code == CacheCode::kInt8 || code == CacheCode::kFloat8) result.scale = scale.data();
    if (code == CacheCode::kInt8) result.zero = zero.data();
    if (is_int8 && counted) result.counts = counts.data();
    return result;
  }

  // The element of a token's kv head.
  T& at(int64_t token, int64_t head, int64_t channel) {
    return values[token * shape.row_stride() + head * shape.head_dim + channel];
  }

  // Sets a few values to ties, ends of the codes, zeroes, subnormals, NaN and infinities.
  void make_special() {
    const float infinity = std::numeric_limits<float>::infinity();
    const std::vector<float> special{
        0.0f,     -0.0f, infinity,   -infinity, std::nanf(""), 65504.0f, -65504.0f, 65520.0f,
        0x1p-24f, 3e-6f, -0x1p-133f, 3.3e38f,   -3.3e38f,      1e-40f,   0x1p-14f,  0.5f};
    for (size_t i = 0; i < values.size(); ++i) {
      const size_t channel = i % static_cast<size_t>(shape.row_stride());
      if (i % 7 == 0) values[i] = from_float<T>(special[i / 7 % special.size()]);
      if (i % 7 == 3 && channel < scale.size())
        values[i] =
            from_float<T>(zero[channel] + scale[channel] * (static_cast<float>(i % 263) - 130.5f));
    }
  }

  QuantizeShape shape;
  CacheCode code;
  CacheType type;
  std::vector<T> values;
  std::vector<float> scale, zero;
  std::vector<CodeCount> counts;
  bool counted = true;  // else the call gets no counts
};

}  // namespace kvcalib::kernels
