// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace kvcalib::kernels {

// A cache holds K and V of a layer apart, in blocks of so many tokens that sequences may share:
// [blocks, kv_heads, kBlockTokens, head_dim] of T, or of uint8_t for int8's codes, of which q is
// stored as q + 128.  A token's slot is its block * kBlockTokens + its place in the block.
inline constexpr int64_t kBlockTokens = 64;

// How (x - zero) / scale becomes a code where it lies halfway between two.
enum class CodeRounding : uint8_t { kToEven, kAwayFromZero };

#ifdef __CUDACC__
#define KVCALIB_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define KVCALIB_HOST_DEVICE inline
#endif

// The element of a cache at which a head of a slot's token begins; slot >= 0.
KVCALIB_HOST_DEVICE int64_t cache_offset(int64_t slot, int64_t head, int64_t kv_heads,
                                         int64_t head_dim) {
  const int64_t block = slot / kBlockTokens, place = slot % kBlockTokens;
  return ((block * kv_heads + head) * kBlockTokens + place) * head_dim;
}

#undef KVCALIB_HOST_DEVICE

}  // namespace kvcalib::kernels
