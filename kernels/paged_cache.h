// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cache_codes.h"
#include "kernels/require.h"

namespace kvcalib::kernels {

// Tokens of a block of a paged cache.
inline constexpr int64_t kCacheBlockTokens = 64;
// What is added to int8's codes, which are kept in unsigned bytes.
inline constexpr int kCodeOffset = 128;

// K or V of one layer in a paged cache, [blocks, kv_heads, kCacheBlockTokens, head_dim]: elements
// of the type that is computed in, or codes of int8.  A token's slot is its block kCacheBlockTokens
// + its place in the block.
struct PagedTensor {
  void* elements = nullptr;
  const float* scale = nullptr;  // of codes, [kv_heads, head_dim], positive; null: there are none
  const float* zero = nullptr;   // of codes, [kv_heads, head_dim]

  bool holds_codes() const { return scale != nullptr; }
};

// The shape and kind of a paged cache's K and V, which are alike.
struct PagedCache {
  PagedTensor keys, values;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  // Of T = float: the 16-bit type that elements are rounded to, and what is read back of codes.
  CacheType type = CacheType::kHalf;

  bool holds_codes() const { return keys.holds_codes(); }
  int64_t columns() const { return kv_heads * head_dim; }
  // Of a slot's first channel.
  int64_t offset(int64_t slot, int64_t head) const {
    const int64_t block = slot / kCacheBlockTokens, place = slot % kCacheBlockTokens;
    return ((block * kv_heads + head) * kCacheBlockTokens + place) * head_dim;
  }

  void check() const {
    require(kv_heads > 0 && head_dim > 0 && head_dim <= 256,
            "paged cache: head_dim is at most 256");
    require(keys.elements != nullptr && values.elements != nullptr, "paged cache: it is given");
    for (const PagedTensor& tensor : {keys, values})
      require(tensor.holds_codes() == holds_codes() && (tensor.zero != nullptr) == holds_codes(),
              "paged cache: codes of K and V have scale and zero, or there are none");
  }
};

}  // namespace kvcalib::kernels
