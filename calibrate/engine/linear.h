// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "sharding/streaming/weight_matrix.h"

namespace kvcalib {

// out [tokens, n] = x [tokens, k] weight [k, n], accumulated in float32; `accumulate`: out +=
// instead.  Rows of x and out may be parts of wider ones.  On the CPU x and out are float32 and the
// weight, of float16, bfloat16 or float32, is widened a few columns at a time; on a GPU all are of
// one 16-bit type, out perhaps of float32, and the weight is one tensor.  A row's bits do not
// depend on the rows beside it: on the CPU by how the kernel sums, on a GPU since the algorithm
// follows from the weight's shape and `chosen_for` alone, the number of rows that it suits best.
inline constexpr int64_t kFullMicroBatch = 16384;
void linear(const at::Tensor& x, const WeightMatrix& weight, const at::Tensor& out,
            bool accumulate = false, int64_t chosen_for = kFullMicroBatch);

// The matrix in the form in which the CPU multiplies, float32 in a memory of its own, which linear
// then need not make for every product: for weights that are used again and again.
WeightMatrix packed(const WeightMatrix& weight);
// Bytes of that form.
int64_t packed_bytes(int64_t rows, int64_t columns);

// Bytes that linear holds on the CPU beside its arguments: columns of a weight of up to `rows` rows
// and what the kernel gathers, on every thread.  (A float32 weight of a 16-bit model takes half as
// much again, being rounded first.)
int64_t linear_scratch_bytes(int64_t rows);

}  // namespace kvcalib
