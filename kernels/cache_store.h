// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/cache_blocks.h"
#include "kernels/cache_codes.h"
#include "kernels/require.h"
#include "kernels/stream.h"

namespace kvcalib::kernels {

// K or V of tokens, and the cache that holds it.
template <typename T>
struct CachedTensor {
  T* values = nullptr;           // [tokens, row_stride]; a row is kv_heads heads of head_dim
                                 // elements each, and then anything
  void* cache = nullptr;         // [blocks, kv_heads, kBlockTokens, head_dim] of T or of codes
  const float* scale = nullptr;  // [kv_heads, head_dim], positive: of codes, else null
  const float* zero = nullptr;   // the same
};

// The arguments of storing tokens' K and V in a cache.  A value x becomes code q as
// quantize_dequantize has it for kInt8, and x' = q scale + zero, rounded to T, is read back of it.
// NaN has no code: it is stored as 0 is, and read back as NaN.
template <typename T>
struct CacheStoreArguments {
  CachedTensor<T> keys, values;
  const int64_t* slots = nullptr;  // [tokens], no two alike; a negative one: is not stored
  int64_t tokens = 0;
  int64_t row_stride = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;  // at most 256
  bool codes = false;    // else the cache holds values as they are
  CodeRounding rounding = CodeRounding::kToEven;
  bool read_back = false;  // the values of tokens that are stored become x'
  // Of T = float: x and x' are rounded to it, as quantize_dequantize does; without: they are not.
  std::optional<CacheType> type = std::nullopt;
  CodeCount* key_counts = nullptr;    // [kv_heads] of stored tokens, added to; or null, as without
  CodeCount* value_counts = nullptr;  // codes

  int64_t columns() const { return kv_heads * head_dim; }

  void check() const {
    require(tokens >= 0 && kv_heads > 0, "cache_store: tokens >= 0 and kv_heads > 0");
    require(head_dim > 0 && head_dim <= 256, "cache_store: head_dim is at most 256");
    require(row_stride >= columns(), "cache_store: row_stride covers the heads");
    require(slots != nullptr || tokens == 0, "cache_store: slots are given");
    for (const CachedTensor<T>& tensor : {keys, values}) {
      require((tensor.values != nullptr && tensor.cache != nullptr) || tokens == 0,
              "cache_store: keys and values, and their caches are given");
      require((tensor.scale != nullptr) == codes && (tensor.zero != nullptr) == codes,
              "cache_store: scale and zero are given for codes");
    }
    require(
        (key_counts == nullptr) == (value_counts == nullptr) && (key_counts == nullptr || codes),
        "cache_store: counts are of codes, of keys and of values");
    require(codes || rounding == CodeRounding::kToEven, "cache_store: rounding is of codes");
  }
};

// The arguments of reading tokens' K and V back: x' as above, or the values as they were stored.
template <typename T>
struct CacheLoadArguments {
  CachedTensor<T> keys, values;
  const int64_t* slots = nullptr;  // [tokens], each at least 0
  int64_t tokens = 0;
  int64_t row_stride = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;  // at most 256
  bool codes = false;
  // Of T = float and codes: x' is rounded to it.
  std::optional<CacheType> type = std::nullopt;

  int64_t columns() const { return kv_heads * head_dim; }

  void check() const {
    require(tokens >= 0 && kv_heads > 0, "cache_load: tokens >= 0 and kv_heads > 0");
    require(head_dim > 0 && head_dim <= 256, "cache_load: head_dim is at most 256");
    require(row_stride >= columns(), "cache_load: row_stride covers the heads");
    require(slots != nullptr || tokens == 0, "cache_load: slots are given");
    for (const CachedTensor<T>& tensor : {keys, values}) {
      require((tensor.values != nullptr && tensor.cache != nullptr) || tokens == 0,
              "cache_load: keys and values, and their caches are given");
      require((tensor.scale != nullptr) == codes && (tensor.zero != nullptr) == codes,
              "cache_load: scale and zero are given for codes");
    }
  }
};

// T: Half, Bfloat16.  Pointers are device memory.  Both throw std::invalid_argument for
// inconsistent arguments, CudaError for a launch that failed.
template <typename T>
void cache_store(const CacheStoreArguments<T>& arguments, Stream stream);
template <typename T>
void cache_load(const CacheLoadArguments<T>& arguments, Stream stream);

namespace cpu {

// The same, to the bit, for tokens [first_token, last_token), and for float; pointers are host
// memory.  The counts are added to without locks: each thread needs its own.
template <typename T>
void cache_store(const CacheStoreArguments<T>& arguments, int64_t first_token, int64_t last_token);
template <typename T>
void cache_load(const CacheLoadArguments<T>& arguments, int64_t first_token, int64_t last_token);

}  // namespace cpu
}  // namespace kvcalib::kernels
