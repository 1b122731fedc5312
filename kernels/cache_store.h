// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/paged_cache.h"
#include "kernels/stream.h"

namespace kvcalib::kernels {

// Where a number of steps lies in the middle between two codes.
enum class CodeRounding : uint8_t { kHalfToEven, kHalfAway };

// The arguments of a copy of tokens' K and V into a paged cache.  Elements are stored as they are
// (float ones rounded to the 16-bit type), or their codes, as quantize_dequantize.h has them for
// kInt8 but for the rounding of halves.
template <typename T>
struct CacheStoreArguments {
  T* keys = nullptr;  // [tokens, row_stride]: a row is kv_heads heads, and then anything
  T* values = nullptr;
  const int64_t* slots = nullptr;  // [tokens]
  int64_t tokens = 0;
  int64_t row_stride = 0;
  PagedCache cache;
  CodeRounding rounding = CodeRounding::kHalfToEven;
  bool read_back = false;  // keys and values become what a reader of the cache finds

  void check() const {
    cache.check();
    require(tokens >= 0 && row_stride >= cache.columns(), "cache_store: rows cover the heads");
    require(tokens == 0 || (keys != nullptr && values != nullptr && slots != nullptr),
            "cache_store: keys, values and slots are given");
  }
};

// The arguments of the way back: rows of T, of codes code scale + zero rounded to the 16-bit type.
template <typename T>
struct CacheLoadArguments {
  T* keys = nullptr;  // [tokens, row_stride]
  T* values = nullptr;
  const int64_t* slots = nullptr;  // [tokens]
  int64_t tokens = 0;
  int64_t row_stride = 0;
  PagedCache cache;

  void check() const {
    cache.check();
    require(tokens >= 0 && row_stride >= cache.columns(), "cache_load: rows cover the heads");
    require(tokens == 0 || (keys != nullptr && values != nullptr && slots != nullptr),
            "cache_load: keys, values and slots are given");
  }
};

// T: Half, Bfloat16.  Pointers are device memory.  Throw std::invalid_argument for inconsistent
// arguments and for rows or heads that are not of whole 16 bytes, CudaError for a launch that
// failed.
template <typename T>
void cache_store(const CacheStoreArguments<T>& arguments, Stream stream);
template <typename T>
void cache_load(const CacheLoadArguments<T>& arguments, Stream stream);

namespace cpu {

// The same, to the bit, of floats, for tokens [first_token, last_token); pointers are host memory.
void cache_store(const CacheStoreArguments<float>& arguments, int64_t first_token,
                 int64_t last_token);
void cache_load(const CacheLoadArguments<float>& arguments, int64_t first_token,
                int64_t last_token);

}  // namespace cpu
}  // namespace kvcalib::kernels
