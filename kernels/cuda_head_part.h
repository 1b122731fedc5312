// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <climits>
#include <cstdint>

#include "kernels/cuda_chunk.h"
#include "kernels/require.h"

namespace kvcalib::kernels {

inline constexpr int kWarp = 32;
inline constexpr int kMaximumHeadDim = 256;
inline constexpr int kHeadThreads = 128;  // of a block, at most

// Threads that share a head, a power of two within a warp, where each has a chunk of N elements, or
// several.
template <int N>
int lanes_of_head(int64_t head_dim) {
  int lanes = 1;
  while (lanes < kWarp && lanes * N < head_dim) lanes *= 2;
  return lanes;
}

// How heads of tokens are shared out: a block of threads has some heads of some tokens.
struct HeadGrid {
  dim3 blocks;
  unsigned threads;
  int lanes;  // that share a head
  int64_t tokens_per_block;
};

// Tokens of a block are halved as long as there are fewer than `enough_blocks`.  Throws
// std::invalid_argument with `too_many` where a grid has no room for the heads.
template <int N>
HeadGrid head_grid(int64_t heads, int64_t head_dim, int64_t tokens, int64_t enough_blocks,
                   const char* too_many) {
  constexpr int64_t kThreads = kHeadThreads;
  constexpr int64_t kMostTokens = 32;  // enough to make scales and counts cheap
  constexpr int64_t kFewestTokens = 4;
  constexpr int64_t kMostTokenBlocks = 65535;  // the grid's second dimension
  const int lanes = lanes_of_head<N>(head_dim);
  const int64_t units = heads * lanes;
  const int64_t threads = std::min(kThreads, (units + kWarp - 1) / kWarp * kWarp);
  const int64_t head_blocks = (units + threads - 1) / threads;
  require(head_blocks <= INT_MAX, too_many);
  int64_t of_block = kMostTokens;
  while (of_block > kFewestTokens && tokens / of_block * head_blocks < enough_blocks) of_block /= 2;
  of_block = std::max(of_block, (tokens + kMostTokenBlocks - 1) / kMostTokenBlocks);
  return {dim3(static_cast<unsigned>(head_blocks),
               static_cast<unsigned>((tokens + of_block - 1) / of_block)),
          static_cast<unsigned>(threads), lanes, of_block};
}

// What one thread has of a head: chunks that lie `lanes` chunks apart.
template <typename T, int N>
struct Part {
  static constexpr int kChunks = N == 1 ? kMaximumHeadDim / kWarp : 1;
  static constexpr int kElements = kChunks * N;
  static_assert(kElements * kWarp >= kMaximumHeadDim, "a warp holds any head");

  Chunk<T, N> chunks[kChunks];
};

// A thread's place: a group of `lanes` neighbouring threads has a head of all tokens of its block.
template <typename T, int N>
struct Place {
  int64_t head;
  int lane, first, step, channels;  // channels: 0 for a thread without a head

  __device__ Place(int64_t heads, int64_t head_dim, int lanes) {
    const int64_t unit = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    head = unit / lanes;
    lane = static_cast<int>(unit % lanes);
    first = lane * N;
    step = lanes * N;
    channels = head < heads ? static_cast<int>(head_dim) : 0;
  }

  // The first channel of a chunk, which exists where it is below `channels`.
  __device__ int channel(int chunk) const { return first + chunk * step; }
};

// NaN where there is nothing: it leaves counts and extremes alone.
template <typename T, int N>
__device__ Part<T, N> load_part(const Place<T, N>& place, const T* values, bool exists) {
  Part<T, N> part;
#pragma unroll
  for (int i = 0; i < Part<T, N>::kChunks; ++i) {
    if (exists && place.channel(i) < place.channels) {
      part.chunks[i] = load_chunk<T, N>(values + place.channel(i));
    } else {
#pragma unroll
      for (int n = 0; n < N; ++n) part.chunks[i].values[n] = from_float<T>(NAN);
    }
  }
  return part;
}

// Stores what there is.
template <typename T, int N>
__device__ void store_part(const Place<T, N>& place, const Part<T, N>& part, T* values) {
#pragma unroll
  for (int i = 0; i < Part<T, N>::kChunks; ++i)
    if (place.channel(i) < place.channels) store_chunk(values + place.channel(i), part.chunks[i]);
}

template <typename T, int N>
__device__ void widen_part(const Part<T, N>& part, float (&values)[Part<T, N>::kElements]) {
#pragma unroll
  for (int i = 0; i < Part<T, N>::kElements; ++i)
    values[i] = to_float(part.chunks[i / N].values[i % N]);
}

template <typename T, int N>
__device__ Part<T, N> rounded_part(const float (&values)[Part<T, N>::kElements]) {
  Part<T, N> part;
#pragma unroll
  for (int i = 0; i < Part<T, N>::kElements; ++i)
    part.chunks[i / N].values[i % N] = from_float<T>(values[i]);
  return part;
}

}  // namespace kvcalib::kernels
