// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "kernels/head_norm.h"
#include "tests/kernels/kernel_test_data.h"

namespace kvcalib::kernels {

// The dimensions of a call of head_norm.
struct HeadNormShape {
  int64_t tokens, heads, kv_heads, head_dim, others;  // others: columns behind q and k

  int64_t row_stride() const { return (heads + kv_heads) * head_dim + others; }
};

// Every head_dim of the families, odd ones, no query heads, strides that break alignment.
inline std::vector<HeadNormShape> head_norm_shapes() {
  return {{5, 4, 2, 128, 256}, {3, 2, 2, 64, 128},  {7, 3, 1, 80, 80}, {4, 2, 1, 96, 96},
          {3, 2, 1, 256, 256}, {9, 0, 3, 128, 384}, {6, 2, 1, 128, 3}, {130, 1, 1, 6, 6},
          {3, 2, 2, 1, 0},     {4, 1, 1, 255, 1}};
}

// The operands of one call in host memory, and what it wrote.
template <typename T>
struct HeadNormCase {
  explicit HeadNormCase(const HeadNormShape& shape)
      : shape(shape),
        qkv(random_values<T>(shape.tokens * shape.row_stride(), 11, 3.0f)),
        query_weight(random_values<T>(shape.head_dim, 12)),
        key_weight(random_values<T>(shape.head_dim, 13)) {}

  HeadNormArguments<T> arguments() {
    return {qkv.data(),
            shape.heads > 0 ? query_weight.data() : nullptr,
            key_weight.data(),
            shape.tokens,
            shape.row_stride(),
            shape.heads,
            shape.kv_heads,
            shape.head_dim,
            1e-6f};
  }

  HeadNormShape shape;
  std::vector<T> qkv, query_weight, key_weight;
};

}  // namespace kvcalib::kernels
