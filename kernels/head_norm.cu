// SPDX-License-Identifier: Apache-2.0
#include <climits>

#include "kernels/cuda_check.h"
#include "kernels/cuda_chunk.h"
#include "kernels/head_norm.h"

namespace kvcalib::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kWarp = 32;
constexpr int kMaximumHeadDim = 256;

// A group of `lanes` neighbouring threads, a power of two within a warp, per head; its chunks stay
// in registers: one read, one write.
template <typename T, int N>
__global__ void __launch_bounds__(kThreads)
    head_norm_groups(const HeadNormArguments<T> arguments, int lanes) {
  constexpr int kHeldChunks = kMaximumHeadDim / kWarp / N;  // of a head per thread
  const int64_t index = static_cast<int64_t>(blockIdx.x) * (kThreads / lanes) + threadIdx.x / lanes;
  const int64_t heads = arguments.heads + arguments.kv_heads;
  const int64_t token = index / heads;
  const int64_t head = index % heads;
  const int first = static_cast<int>(threadIdx.x) % lanes * N;
  // Threads without a head stay for the shuffles.
  const int columns = token < arguments.tokens ? static_cast<int>(arguments.head_dim) : 0;
  T* const values = arguments.qkv + token * arguments.row_stride + head * arguments.head_dim;
  const T* const weights = head < arguments.heads ? arguments.query_weight : arguments.key_weight;

  Chunk<T, N> held[kHeldChunks];
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kHeldChunks; ++i) {
    const int column = first + i * lanes * N;
    if (column >= columns) continue;
    held[i] = load_chunk<T, N>(values + column);
#pragma unroll
    for (int n = 0; n < N; ++n) sum += to_float(held[i].values[n]) * to_float(held[i].values[n]);
  }
  for (int offset = lanes / 2; offset > 0; offset /= 2) {
    sum += __shfl_xor_sync(0xffffffffu, sum, offset);
  }
  const float inverse =
      1.0f / sqrtf(sum / static_cast<float>(arguments.head_dim) + arguments.epsilon);
#pragma unroll
  for (int i = 0; i < kHeldChunks; ++i) {
    const int column = first + i * lanes * N;
    if (column >= columns) continue;
    const auto weight = load_constant_chunk<T, N>(weights + column);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const float normed = rounded<T>(to_float(held[i].values[n]) * inverse);
      held[i].values[n] = from_float<T>(normed * to_float(weight.values[n]));
    }
    store_chunk(values + column, held[i]);
  }
}

template <typename T, int N>
void launch(const HeadNormArguments<T>& arguments, Stream stream) {
  int lanes = 1;
  while (lanes < kWarp && lanes * N < arguments.head_dim) lanes *= 2;
  const int64_t groups = kThreads / lanes;
  const int64_t heads = arguments.tokens * (arguments.heads + arguments.kv_heads);
  const int64_t blocks = (heads + groups - 1) / groups;
  require(blocks <= INT_MAX, "head_norm: fewer tokens");
  head_norm_groups<T, N><<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(arguments, lanes);
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace

template <typename T>
void head_norm(const HeadNormArguments<T>& arguments, Stream stream) {
  arguments.check();
  if (arguments.tokens == 0) return;
  constexpr int kElements = kChunkElements<T>;
  if (arguments.head_dim % kElements == 0 && arguments.row_stride % kElements == 0 &&
      chunk_aligned(arguments.qkv) && chunk_aligned(arguments.query_weight) &&
      chunk_aligned(arguments.key_weight)) {
    launch<T, kElements>(arguments, stream);
  } else {
    launch<T, 1>(arguments, stream);
  }
}

template void head_norm(const HeadNormArguments<Half>&, Stream);
template void head_norm(const HeadNormArguments<Bfloat16>&, Stream);

}  // namespace kvcalib::kernels
