// SPDX-License-Identifier: Apache-2.0
#pragma once

// Part of every instruction_set_*.cpp, each compiled for other processors; in an unnamed namespace,
// so that the linker cannot take one processor's copy for another's.
#ifdef __F16C__
#include <immintrin.h>
#endif

#include <algorithm>
#include <bit>

#include "kernels/float_tile.h"
#include "kernels/matrix_product.h"
#include "kernels/numeric.h"

namespace kvcalib::kernels::cpu {
namespace {

// Elements of a weight as they are stored, and what they are as floats.
struct StoredFloat {
  float value;
  [[gnu::always_inline]] float widened() const { return value; }
};
struct StoredBfloat16 {
  uint16_t bits;
  [[gnu::always_inline]] float widened() const {
    return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  }
};
struct StoredHalf {
  uint16_t bits;
  [[gnu::always_inline]] float widened() const {
#ifdef __F16C__
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)));
#else
    return to_float(Half{bits});
#endif
  }
};

template <typename Stored>
[[gnu::always_inline]] inline void widen(const Stored* stored, int64_t count, float* out) {
  int64_t i = 0;
#ifdef __F16C__
  if constexpr (std::is_same_v<Stored, StoredHalf>) {
    for (; i + 8 <= count; i += 8) {
      __m128i bits;
      std::memcpy(&bits, stored + i, sizeof(bits));
      _mm256_storeu_ps(out + i, _mm256_cvtph_ps(bits));
    }
  }
#endif
  for (; i < count; ++i) out[i] = stored[i].widened();
}

template <int kLanes, int kRows>
struct MatrixProductLoops {
  using Tile = FloatTile<kLanes, kRows>;
  using Finish = typename Tile::Finish;
  static constexpr int64_t kPanel = Tile::kColumns;
  static_assert(kProductRows % kRows == 0);

  static void pack(const PackColumnsArguments& block) {
    switch (block.type) {
      case StoredType::kFloat32:
        return pack_stored<StoredFloat>(block);
      case StoredType::kFloat16:
        return pack_stored<StoredHalf>(block);
      case StoredType::kBfloat16:
        return pack_stored<StoredBfloat16>(block);
    }
  }

  static void multiply(const MatrixProductArguments& product) {
    for (int64_t first = 0; first < product.depth; first += kProductDepth) {
      const int64_t depth = std::min(kProductDepth, product.depth - first);
      for (int64_t row = 0; row < product.rows; row += kProductRows) {
        const int64_t rows = std::min(kProductRows, product.rows - row);
        gather_rows(product.x + row * product.x_stride + first, product.x_stride, rows, depth,
                    product.scratch);
        if (first > 0 || product.accumulate)
          multiply_rows<Finish::kAdd>(product, row, rows, first, depth);
        else
          multiply_rows<Finish::kStore>(product, row, rows, first, depth);
      }
    }
  }

  // Rows of a left operand as a tile takes them: [tile, depth, kRows], zero where there is no row.
  static void gather_rows(const float* x, int64_t stride, int64_t rows, int64_t depth, float* out) {
    for (int64_t tile = 0; tile < rows; tile += kRows, out += depth * kRows) {
      const int64_t present = std::min<int64_t>(kRows, rows - tile);
      const float* const source = x + tile * stride;
      if (present < kRows) std::fill(out, out + depth * kRows, 0.0f);
      for (int64_t i = 0; i < depth; ++i) {
        if (present == kRows)
          for (int64_t row = 0; row < kRows; ++row) out[i * kRows + row] = source[row * stride + i];
        else
          for (int64_t row = 0; row < present; ++row)
            out[i * kRows + row] = source[row * stride + i];
      }
    }
  }

 private:
  // Panel by panel, since the rows that were gathered stay in cache while a panel comes only once.
  template <Finish kFinish>
  static void multiply_rows(const MatrixProductArguments& product, int64_t first_row, int64_t rows,
                            int64_t first, int64_t depth) {
    for (int64_t column = 0; column < product.columns; column += kPanel) {
      const float* const right = product.weight + column * product.depth + first * kPanel;
      for (int64_t tile = 0; tile < rows; tile += kRows) {
        const float* const left = product.scratch + tile * depth;
        float* const out = product.out + (first_row + tile) * product.out_stride + column;
        const int64_t height = std::min<int64_t>(kRows, rows - tile);
        const int64_t width = std::min(kPanel, product.columns - column);
        if (height == kRows && width == kPanel)
          Tile::template multiply<kFinish>(left, 1, kRows, right, depth, out, product.out_stride);
        else
          multiply_part<kFinish>(left, right, depth, out, product.out_stride, height, width);
      }
    }
  }

  // A tile that reaches over the end of rows or columns.
  template <Finish kFinish>
  [[gnu::noinline]] static void multiply_part(const float* left, const float* right, int64_t depth,
                                              float* out, int64_t out_stride, int64_t height,
                                              int64_t width) {
    alignas(64) float whole[kRows * kPanel] = {};
    for (int64_t row = 0; row < height; ++row)
      std::copy_n(out + row * out_stride, width, whole + row * kPanel);
    Tile::template multiply<kFinish>(left, 1, kRows, right, depth, whole, kPanel);
    for (int64_t row = 0; row < height; ++row)
      std::copy_n(whole + row * kPanel, width, out + row * out_stride);
  }

  template <typename Stored>
  static void pack_stored(const PackColumnsArguments& block) {
    const auto* const source = static_cast<const Stored*>(block.source);
    if (block.column_stride == 1 && block.column_step == 1)
      pack_rows(block, source);
    else
      pack_by_column(block, source);
  }

  static float* place(const PackColumnsArguments& block, int64_t row, int64_t column) {
    return block.packed + (column / kPanel * block.depth + block.first_row + row) * kPanel +
           column % kPanel;
  }

  // Columns that lie together here as there.
  template <typename Stored>
  static void pack_rows(const PackColumnsArguments& block, const Stored* source) {
    for (int64_t row = 0; row < block.rows; ++row, source += block.row_stride) {
      for (int64_t i = 0; i < block.columns;) {
        const int64_t column = block.first_column + i;
        const int64_t run = std::min(kPanel - column % kPanel, block.columns - i);
        float* const out = place(block, row, column);
        if (run == kPanel)  // a count that is known is unrolled
          widen(source + i, kPanel, out);
        else
          widen(source + i, run, out);
        i += run;
      }
    }
  }

  // Some rows of all columns of a panel, while they are in cache.
  template <typename Stored>
  static void pack_by_column(const PackColumnsArguments& block, const Stored* source) {
    constexpr int64_t kRun = 64;
    alignas(64) float run[kRun];
    const int64_t step = block.column_step;
    const int64_t together = std::max<int64_t>(1, kPanel / step);
    for (int64_t first = 0; first < block.columns; first += together) {
      const int64_t last = std::min(first + together, block.columns);
      for (int64_t row = 0; row < block.rows; row += kRun) {
        const int64_t rows = std::min(kRun, block.rows - row);
        for (int64_t i = first; i < last; ++i) {
          const Stored* const column = source + row * block.row_stride + i * block.column_stride;
          if (block.row_stride == 1)
            widen(column, rows, run);
          else
            for (int64_t j = 0; j < rows; ++j) run[j] = column[j * block.row_stride].widened();
          float* const out = place(block, row, block.first_column + i * step);
          for (int64_t j = 0; j < rows; ++j) out[j * kPanel] = run[j];
        }
      }
    }
  }
};

}  // namespace
}  // namespace kvcalib::kernels::cpu
