// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cfloat>
#include <climits>

#include "kernels/cuda_check.h"
#include "kernels/cuda_chunk.h"
#include "kernels/divergence_terms.h"
#include "kernels/score_rows.h"

namespace kvcalib::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kElements = 4;  // of a chunk, beside each other

// Calls use(index) for every chunk of a row that is this thread's, in a fixed order.
template <int N, typename Use>
__device__ void over_chunks(int64_t vocab, Use use) {
  for (int64_t i = static_cast<int64_t>(threadIdx.x) * N; i < vocab; i += kThreads * N) use(i);
}

// The sum of exp(x - largest) over some logits.  No member is initialised, since it is shared too.
struct RunningSum {
  float largest;
  int place;  // of the largest; INT_MAX: none
  double sum;

  // The lowest number is no less than minus infinity, and can be taken off it.
  __device__ static RunningSum of_none() { return {-FLT_MAX, INT_MAX, 0.0}; }

  __device__ void merge(const RunningSum& other) {
    const float both = fmaxf(largest, other.largest);
    sum = sum * expf(largest - both) + other.sum * expf(other.largest - both);
    if (other.largest > largest || (other.largest == largest && other.place < place))
      place = other.place;
    largest = both;
  }

  __device__ RunningSum of_lane(int offset) const {
    return {__shfl_xor_sync(0xffffffffu, largest, offset),
            __shfl_xor_sync(0xffffffffu, place, offset), __shfl_xor_sync(0xffffffffu, sum, offset)};
  }
};

template <int N>
__device__ void add_chunk(RunningSum& running, const Chunk<float, N>& chunk, int64_t first) {
  float largest = running.largest;
#pragma unroll
  for (int n = 0; n < N; ++n) {
    if (chunk.values[n] > largest || (chunk.values[n] == largest && running.place == INT_MAX)) {
      largest = chunk.values[n];
      running.place = static_cast<int>(first) + n;
    }
  }
  float sum = 0.0f;
#pragma unroll
  for (int n = 0; n < N; ++n) sum += expf(chunk.values[n] - largest);
  if (largest != running.largest) running.sum *= expf(running.largest - largest);
  running.sum += sum;
  running.largest = largest;
}

// A block a row.
template <int N>
__global__ void __launch_bounds__(kThreads) score_row(const ScoreRowsArguments arguments) {
  const float* const logits = arguments.logits + blockIdx.x * arguments.stride;
  RunningSum running = RunningSum::of_none();
  over_chunks<N>(arguments.vocab,
                 [&](int64_t i) { add_chunk(running, load_chunk<float, N>(logits + i), i); });
  for (int offset = 16; offset > 0; offset /= 2) running.merge(running.of_lane(offset));
  __shared__ RunningSum warps[kWarps];
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = running;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int warp = 1; warp < kWarps; ++warp) running.merge(warps[warp]);
  arguments.top[blockIdx.x] = running.place == INT_MAX ? 0 : running.place;
  arguments.log_sum[blockIdx.x] = static_cast<double>(running.largest) + log(running.sum);
}

struct Terms {
  double forward, reverse;
};

struct Shift {
  float base, other, between;
};

__device__ void add_terms(float base, float other, const Shift& shift, float& forward,
                          float& reverse) {
  const float d = base - other - shift.between;
  const float p = expf(base - shift.base);
  if (fabsf(d) < kSeriesBound) {
    const DivergenceSeries g = divergence_series(d);
    forward += p * (g.even - g.odd);
    reverse += p * (1.0f - d + (g.even - g.odd)) * (g.even + g.odd);
  } else {
    const float q = expf(other - shift.other), difference = q - p;
    forward += (p == 0.0f ? 0.0f : p * d) + difference;
    reverse -= (q == 0.0f ? 0.0f : q * d) + difference;
  }
}

template <int N>
__global__ void __launch_bounds__(kThreads) diverge_row(const DivergeRowsArguments arguments) {
  const float* const base = arguments.base + blockIdx.x * arguments.base_stride;
  const float* const other = arguments.other + blockIdx.x * arguments.other_stride;
  const double base_sum = arguments.base_log_sum[blockIdx.x];
  const double other_sum = arguments.other_log_sum[blockIdx.x];
  const Shift shift{static_cast<float>(base_sum), static_cast<float>(other_sum),
                    static_cast<float>(base_sum - other_sum)};
  Terms terms{0.0, 0.0};
  over_chunks<N>(arguments.vocab, [&](int64_t i) {
    const auto b = load_chunk<float, N>(base + i), o = load_chunk<float, N>(other + i);
    float forward = 0.0f, reverse = 0.0f;
#pragma unroll
    for (int n = 0; n < N; ++n) add_terms(b.values[n], o.values[n], shift, forward, reverse);
    terms.forward += forward;
    terms.reverse += reverse;
  });
  for (int offset = 16; offset > 0; offset /= 2) {
    terms.forward += __shfl_xor_sync(0xffffffffu, terms.forward, offset);
    terms.reverse += __shfl_xor_sync(0xffffffffu, terms.reverse, offset);
  }
  __shared__ Terms warps[kWarps];
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = terms;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int warp = 1; warp < kWarps; ++warp) {
    terms.forward += warps[warp].forward;
    terms.reverse += warps[warp].reverse;
  }
  arguments.forward[blockIdx.x] = static_cast<float>(terms.forward);
  arguments.reverse[blockIdx.x] = static_cast<float>(terms.reverse);
}

__global__ void __launch_bounds__(kThreads) surprise_each(const SurpriseArguments arguments) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= arguments.count) return;
  const int64_t row = arguments.rows[i];
  const float logit = arguments.logits[row * arguments.stride + arguments.ids[i]];
  arguments.surprises[i] = static_cast<float>(arguments.log_sum[row] - static_cast<double>(logit));
}

bool chunked(const float* rows, int64_t stride, int64_t vocab) {
  return chunk_aligned(rows) && stride % kElements == 0 && vocab % kElements == 0;
}

}  // namespace

void score_rows(const ScoreRowsArguments& arguments, Stream stream) {
  arguments.check();
  require(arguments.rows <= INT_MAX, "score_rows: rows < 2^31");
  if (arguments.rows == 0) return;
  const auto blocks = static_cast<unsigned>(arguments.rows);
  if (chunked(arguments.logits, arguments.stride, arguments.vocab))
    score_row<kElements><<<blocks, kThreads, 0, stream>>>(arguments);
  else
    score_row<1><<<blocks, kThreads, 0, stream>>>(arguments);
  CUDA_CHECK(cudaGetLastError());
}

void diverge_rows(const DivergeRowsArguments& arguments, Stream stream) {
  arguments.check();
  require(arguments.rows <= INT_MAX, "diverge_rows: rows < 2^31");
  if (arguments.rows == 0) return;
  const auto blocks = static_cast<unsigned>(arguments.rows);
  if (chunked(arguments.base, arguments.base_stride, arguments.vocab) &&
      chunked(arguments.other, arguments.other_stride, arguments.vocab))
    diverge_row<kElements><<<blocks, kThreads, 0, stream>>>(arguments);
  else
    diverge_row<1><<<blocks, kThreads, 0, stream>>>(arguments);
  CUDA_CHECK(cudaGetLastError());
}

void surprise(const SurpriseArguments& arguments, Stream stream) {
  arguments.check();
  const int64_t blocks = (arguments.count + kThreads - 1) / kThreads;
  require(blocks <= INT_MAX, "surprise: fewer tokens");
  if (arguments.count == 0) return;
  surprise_each<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(arguments);
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace kvcalib::kernels
