// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <climits>

#include "kernels/cuda_check.h"
#include "kernels/cuda_chunk.h"
#include "kernels/rms_norm.h"

namespace kvcalib::kernels {
namespace {

constexpr int kMaximumThreads = 512;  // leaves each thread registers for its chunks
constexpr int kHeldChunks = 4;  // of a row per thread, kept in registers between the two passes

// The sum over the block, in an order that depends on nothing but the block's size.
__device__ float block_sum(float value) {
  __shared__ float warp_sums[kMaximumThreads / 32];
  for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, offset);
  }
  const int lane = threadIdx.x % 32;
  if (lane == 0) warp_sums[threadIdx.x / 32] = value;
  __syncthreads();
  value = lane < blockDim.x / 32 ? warp_sums[lane] : 0.0f;
  for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, offset);
  }
  return value;
}

// Adds the squares of hidden + delta + delta_bias to sum_of_squares and returns the rounded sums.
template <typename T, int N>
__device__ Chunk<T, N> add_chunk(const RmsNormArguments<T>& arguments, int64_t column,
                                 Chunk<T, N> hidden, const Chunk<T, N>& delta,
                                 float& sum_of_squares) {
  Chunk<T, N> bias;
  if (arguments.delta_bias != nullptr) {
    bias = load_constant_chunk<T, N>(arguments.delta_bias + column);
  }
#pragma unroll
  for (int n = 0; n < N; ++n) {
    float sum = to_float(hidden.values[n]);
    if (arguments.delta != nullptr) {
      sum += to_float(delta.values[n]);
      if (arguments.delta_bias != nullptr) sum += to_float(bias.values[n]);
      hidden.values[n] = from_float<T>(sum);
    }
    sum_of_squares += sum * sum;
  }
  return hidden;
}

template <typename T, int N>
__device__ void scale_chunk(const RmsNormArguments<T>& arguments, int64_t start, int64_t column,
                            Chunk<T, N> hidden, float inverse) {
  const auto weight = load_constant_chunk<T, N>(arguments.weight + column);
#pragma unroll
  for (int n = 0; n < N; ++n) {
    hidden.values[n] =
        from_float<T>(to_float(hidden.values[n]) * to_float(weight.values[n]) * inverse);
  }
  store_chunk(arguments.out + start + column, hidden);
}

// 1 / root mean square of the row; reports a sum that is not finite.
template <typename T>
__device__ float row_inverse(const RmsNormArguments<T>& arguments, float sum_of_squares) {
  const float sum = block_sum(sum_of_squares);
  if (threadIdx.x == 0 && !isfinite(sum)) atomicOr(arguments.nonfinite, 1);
  return 1.0f / sqrtf(sum / static_cast<float>(arguments.width) + arguments.epsilon);
}

// One block per row, whose chunks stay in registers: one read, one write.
template <typename T, int N>
__global__ void __launch_bounds__(kMaximumThreads)
    rms_norm_held(const RmsNormArguments<T> arguments) {
  const int64_t start = static_cast<int64_t>(blockIdx.x) * arguments.width;
  Chunk<T, N> hidden[kHeldChunks], delta[kHeldChunks];
#pragma unroll
  for (int i = 0; i < kHeldChunks; ++i) {
    const int64_t column = static_cast<int64_t>(i * blockDim.x + threadIdx.x) * N;
    if (column >= arguments.width) continue;
    hidden[i] = load_chunk<T, N>(arguments.hidden + start + column);
    if (arguments.delta != nullptr) delta[i] = load_chunk<T, N>(arguments.delta + start + column);
  }
  float sum_of_squares = 0.0f;
#pragma unroll
  for (int i = 0; i < kHeldChunks; ++i) {
    const int64_t column = static_cast<int64_t>(i * blockDim.x + threadIdx.x) * N;
    if (column >= arguments.width) continue;
    hidden[i] = add_chunk(arguments, column, hidden[i], delta[i], sum_of_squares);
    if (arguments.delta != nullptr) store_chunk(arguments.hidden + start + column, hidden[i]);
  }
  const float inverse = row_inverse(arguments, sum_of_squares);
#pragma unroll
  for (int i = 0; i < kHeldChunks; ++i) {
    const int64_t column = static_cast<int64_t>(i * blockDim.x + threadIdx.x) * N;
    if (column < arguments.width) scale_chunk(arguments, start, column, hidden[i], inverse);
  }
}

// One block per row of any width and alignment; the second pass reads the row again.
template <typename T>
__global__ void __launch_bounds__(kMaximumThreads)
    rms_norm_streamed(const RmsNormArguments<T> arguments) {
  const int64_t start = static_cast<int64_t>(blockIdx.x) * arguments.width;
  float sum_of_squares = 0.0f;
  for (int64_t column = threadIdx.x; column < arguments.width; column += blockDim.x) {
    Chunk<T, 1> hidden = load_chunk<T, 1>(arguments.hidden + start + column);
    Chunk<T, 1> delta = hidden;
    if (arguments.delta != nullptr) delta = load_chunk<T, 1>(arguments.delta + start + column);
    hidden = add_chunk(arguments, column, hidden, delta, sum_of_squares);
    if (arguments.delta != nullptr) store_chunk(arguments.hidden + start + column, hidden);
  }
  const float inverse = row_inverse(arguments, sum_of_squares);
  for (int64_t column = threadIdx.x; column < arguments.width; column += blockDim.x) {
    const auto hidden = load_chunk<T, 1>(arguments.hidden + start + column);
    scale_chunk(arguments, start, column, hidden, inverse);
  }
}

// The threads, in whole warps, that share `items` with at most `each` per thread.
unsigned threads_for(int64_t items, int64_t each) {
  const int64_t threads = (items + each - 1) / each;
  return static_cast<unsigned>(std::min<int64_t>((threads + 31) / 32 * 32, kMaximumThreads));
}

}  // namespace

template <typename T>
void rms_norm(const RmsNormArguments<T>& arguments, Stream stream) {
  arguments.check();
  require(arguments.tokens <= INT_MAX, "rms_norm: tokens < 2^31");
  if (arguments.tokens == 0) return;
  constexpr int kElements = kChunkElements<T>;
  const int64_t chunks = arguments.width / kElements;
  const bool chunked = arguments.width % kElements == 0 &&
                       chunks <= int64_t{kHeldChunks} * kMaximumThreads &&
                       chunk_aligned(arguments.hidden) && chunk_aligned(arguments.delta) &&
                       chunk_aligned(arguments.delta_bias) && chunk_aligned(arguments.weight) &&
                       chunk_aligned(arguments.out);
  const unsigned blocks = static_cast<unsigned>(arguments.tokens);
  if (chunked) {
    rms_norm_held<T, kElements><<<blocks, threads_for(chunks, kHeldChunks), 0, stream>>>(arguments);
  } else {
    rms_norm_streamed<T><<<blocks, threads_for(arguments.width, 1), 0, stream>>>(arguments);
  }
  CUDA_CHECK(cudaGetLastError());
}

template void rms_norm(const RmsNormArguments<Half>&, Stream);
template void rms_norm(const RmsNormArguments<Bfloat16>&, Stream);

}  // namespace kvcalib::kernels
