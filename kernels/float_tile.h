// SPDX-License-Identifier: Apache-2.0
#pragma once

// Part of every instruction_set_*.cpp, each compiled for other processors; in an unnamed namespace,
// so that the linker cannot take one processor's copy for another's.
#include <cstdint>
#include <cstring>

namespace kvcalib::kernels::cpu {
namespace {

// Products of float matrices whose sums stay in registers: kRows rows of a left operand with a
// panel, two vectors of kLanes columns, of a right one.
template <int kLanes, int kRows>
struct FloatTile {
  typedef float Vector __attribute__((vector_size(4 * kLanes)));
  static constexpr int64_t kColumns = 2 * kLanes;

  // What becomes of the sums: out = sums; out += sums; out = out * factor of the row + sums.
  enum class Finish { kStore, kAdd, kScaleAndAdd };

  // Element (row, i) of the left operand is left[row * row_stride + i * depth_stride]; the right
  // one is packed, [depth, kColumns].  Each sum goes from the first product to the last.
  template <Finish kFinish>
  [[gnu::always_inline]] static inline void multiply(const float* left, int64_t row_stride,
                                                     int64_t depth_stride, const float* right,
                                                     int64_t depth, float* out, int64_t out_stride,
                                                     const float* factors = nullptr) {
    Vector sums[kRows][2];
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) sums[row][0] = sums[row][1] = Vector{};
#pragma GCC unroll 4
    for (int64_t i = 0; i < depth; ++i) {
      const Vector low = load(right + i * kColumns);
      const Vector high = load(right + i * kColumns + kLanes);
#pragma GCC unroll 16
      for (int row = 0; row < kRows; ++row) {
        const float value = left[row * row_stride + i * depth_stride];
        sums[row][0] += value * low;
        sums[row][1] += value * high;
      }
    }
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) {
      float* const out_row = out + row * out_stride;
      if constexpr (kFinish == Finish::kAdd) {
        sums[row][0] += load(out_row);
        sums[row][1] += load(out_row + kLanes);
      } else if constexpr (kFinish == Finish::kScaleAndAdd) {
        sums[row][0] += factors[row] * load(out_row);
        sums[row][1] += factors[row] * load(out_row + kLanes);
      }
      std::memcpy(out_row, &sums[row][0], sizeof(Vector));
      std::memcpy(out_row + kLanes, &sums[row][1], sizeof(Vector));
    }
  }

 private:
  [[gnu::always_inline]] static inline Vector load(const float* values) {
    Vector vector;
    std::memcpy(&vector, values, sizeof(Vector));
    return vector;
  }
};

}  // namespace
}  // namespace kvcalib::kernels::cpu
