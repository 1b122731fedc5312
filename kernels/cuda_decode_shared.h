// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda_decode_tile.h"
#include "kernels/decode_arguments.h"

namespace kvcalib::kernels {

inline constexpr int kDecodeWarps = kDecodeThreads / 32;
inline constexpr int kChunkKeys = static_cast<int>(kDecodeChunk);
inline constexpr int kScoreParts = kDecodeThreads / kTileKeys;  // threads that share a key's scores
static_assert(kChunkKeys % kTileKeys == 0 && kChunkKeys == 2 * kDecodeThreads && kScoreParts == 2);

// The keys that a row sees, and the chunks that these are in.
struct SeenKeys {
  int64_t first, count;

  template <typename T>
  __device__ SeenKeys(const DecodeAttentionArguments<T>& arguments, int64_t row) {
    count = __ldg(arguments.keys + row);
    const int64_t window = arguments.sliding_window;
    first = window > 0 ? max(count - window, int64_t{0}) : 0;
  }

  __device__ int64_t first_chunk() const { return first / kDecodeChunk; }
  __device__ int64_t last_chunk() const { return (count - 1) / kDecodeChunk; }
  __device__ int64_t chunks() const { return count <= 0 ? 0 : last_chunk() - first_chunk() + 1; }
};

// What chunks leave for combine_chunks: [rows, heads, chunks] of each query's maximum and sum, and
// then of its attended values.
struct Partials {
  float* scratch;
  int64_t all, chunks, head_dim;

  template <typename T>
  __device__ Partials(const DecodeAttentionArguments<T>& arguments, int64_t chunks)
      : scratch(arguments.scratch),
        all(arguments.rows * arguments.heads * chunks),
        chunks(chunks),
        head_dim(arguments.head_dim) {}

  __device__ float& maximum(int64_t query, int64_t chunk) const {
    return scratch[query * chunks + chunk];
  }
  __device__ float& weights(int64_t query, int64_t chunk) const {
    return scratch[all + query * chunks + chunk];
  }
  __device__ float* attended(int64_t query, int64_t chunk) const {
    return scratch + 2 * all + (query * chunks + chunk) * head_dim;
  }
};

// What a block of threads shares, of kQueries queries beside each other.
template <int kQueries>
struct Shared {
  char* tiles;     // [stages], and later the sums of threads
  float* queries;  // [filled head_dim, kQueries], scaled
  float* scores;   // [kScoreParts, kChunkKeys, kQueries]; in the end the first part is the weights
  float* constants;   // [kQueries]: what every score has beside its product
  float* own_scores;  // [kQueries]; then the own key's weight
  float* reduced;     // [kDecodeWarps, kQueries]
  float* maxima;      // [kQueries]
  float* sums;        // [kQueries], without the own key's

  __host__ __device__ static int filled(const TileLayout& layout, int element) {
    return layout.units * kUnitBytes / element;
  }

  __host__ __device__ static int tiles_bytes(const TileLayout& layout) {
    const int sums = kDecodeThreads * 4 * kQueries * static_cast<int>(sizeof(float));
    const int tiles = layout.stages * layout.tile_bytes();
    return tiles > sums ? tiles : sums;
  }

  static size_t bytes(const TileLayout& layout, int element) {
    const int floats =
        (filled(layout, element) + kScoreParts * kChunkKeys + kDecodeWarps + 4) * kQueries;
    return static_cast<size_t>(tiles_bytes(layout)) + static_cast<size_t>(floats) * sizeof(float);
  }

  __device__ Shared(char* memory, const TileLayout& layout, int element) {
    tiles = memory;
    queries = reinterpret_cast<float*>(memory + tiles_bytes(layout));
    scores = queries + filled(layout, element) * kQueries;
    constants = scores + kScoreParts * kChunkKeys * kQueries;
    own_scores = constants + kQueries;
    maxima = own_scores + kQueries;
    sums = maxima + kQueries;
    reduced = sums + kQueries;
  }
};

__device__ inline float warp_sum(float value) {
  for (int offset = 16; offset > 0; offset /= 2)
    value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

__device__ inline float warp_maximum(float value) {  // NaN is left out
  for (int offset = 16; offset > 0; offset /= 2)
    value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, offset));
  return value;
}

// kCount floats beside each other in shared memory.
template <int kCount>
__device__ void load_floats(const float* source, float (&values)[kCount]) {
  if constexpr (kCount % 4 == 0) {
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      const float4 raw = *reinterpret_cast<const float4*>(source + i);
      values[i] = raw.x, values[i + 1] = raw.y, values[i + 2] = raw.z, values[i + 3] = raw.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = source[i];
  }
}

}  // namespace kvcalib::kernels
