// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda_check.h"
#include "kernels/cuda_chunk.h"
#include "kernels/squared_differences.h"

namespace kvcalib::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kWarp = 32;
constexpr int kMostSums = 65535;  // the grid's second dimension

template <typename T, int N>
__device__ double squares(const T* left, const T* right) {
  const auto own = load_constant_chunk<T, N>(left);
  Chunk<T, N> other;
  if (right != nullptr) other = load_constant_chunk<T, N>(right);
  float sum = 0.0f;
#pragma unroll
  for (int n = 0; n < N; ++n) {
    const float difference =
        to_float(own.values[n]) - (right == nullptr ? 0.0f : to_float(other.values[n]));
    sum += difference * difference;
  }
  return static_cast<double>(sum);
}

// Of a block's threads, in the first of them.
__device__ double sum_of_block(double sum) {
  __shared__ double warps[kThreads / kWarp];
  for (int offset = kWarp / 2; offset > 0; offset /= 2)
    sum += __shfl_xor_sync(0xffffffffu, sum, offset);
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = sum;
  __syncthreads();
  double all = 0;
  if (threadIdx.x == 0)
    for (const double warp : warps) all += warp;
  return all;
}

// A block has one group's columns of one part of the rows.
template <typename T, int N>
__global__ void __launch_bounds__(kThreads)
    sum_parts(const SquaredDifferencesArguments<T> arguments, int64_t rows_of_part) {
  const int64_t part = blockIdx.x, group = blockIdx.y;
  const int64_t first_row = part * rows_of_part;
  const int64_t rows = max(min(rows_of_part, arguments.rows - first_row), int64_t{0});
  const int64_t chunks = arguments.columns / N;  // of a row
  double sum = 0;
  for (int64_t i = threadIdx.x; i < rows * chunks; i += kThreads) {
    const int64_t row = first_row + i / chunks, column = group * arguments.columns + i % chunks * N;
    sum += squares<T, N>(arguments.left + row * arguments.left_stride + column,
                         arguments.right == nullptr
                             ? nullptr
                             : arguments.right + row * arguments.right_stride + column);
  }
  const double all = sum_of_block(sum);
  if (threadIdx.x == 0) arguments.parts[part * arguments.groups + group] = all;
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    merge_parts(const SquaredDifferencesArguments<T> arguments) {
  const int64_t group = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (group >= arguments.groups) return;
  double sum = 0;
  for (int64_t part = 0; part < arguments.kParts; ++part)
    sum += arguments.parts[part * arguments.groups + group];
  arguments.sums[group * arguments.sums_stride] = sum;
}

template <typename T, int N>
void launch(const SquaredDifferencesArguments<T>& arguments, Stream stream) {
  const int64_t rows_of_part = (arguments.rows + arguments.kParts - 1) / arguments.kParts;
  const dim3 grid(arguments.kParts, static_cast<unsigned>(arguments.groups));
  sum_parts<T, N><<<grid, kThreads, 0, stream>>>(arguments, rows_of_part);
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace

template <typename T>
void squared_differences(const SquaredDifferencesArguments<T>& arguments, Stream stream) {
  arguments.check();
  require(arguments.groups <= kMostSums, "squared_differences: fewer groups");
  require(arguments.parts != nullptr, "squared_differences: scratch is given");
  constexpr int kElements = kChunkElements<T>;
  if (arguments.columns % kElements == 0 && arguments.left_stride % kElements == 0 &&
      arguments.right_stride % kElements == 0 && chunk_aligned(arguments.left) &&
      chunk_aligned(arguments.right)) {
    launch<T, kElements>(arguments, stream);
  } else {
    launch<T, 1>(arguments, stream);
  }
  const auto blocks = static_cast<unsigned>((arguments.groups + kThreads - 1) / kThreads);
  merge_parts<T><<<blocks, kThreads, 0, stream>>>(arguments);
  CUDA_CHECK(cudaGetLastError());
}

template void squared_differences(const SquaredDifferencesArguments<Half>&, Stream);
template void squared_differences(const SquaredDifferencesArguments<Bfloat16>&, Stream);

}  // namespace kvcalib::kernels
