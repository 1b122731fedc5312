// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/cache_store.h"
#include "tests/kernels/kernel_test_data.h"
#include "tests/kernels/quantize_case.h"

namespace kvcalib::kernels {

// Tokens of K and V and a cache that they go to, in host memory: those of two quantize cases, whose
// formulas are the same.
template <typename T>
struct StoreCase {
  StoreCase(const QuantizeShape& shape, bool codes)
      : shape(shape),
        holds_codes(codes),
        keys(shape, codes ? CacheCode::kInt8 : CacheCode::kSixteenBits),
        values(shape, codes ? CacheCode::kInt8 : CacheCode::kSixteenBits),
        slots(static_cast<size_t>(shape.tokens)) {
    std::reverse(values.values.begin(), values.values.end());
    std::reverse(values.scale.begin(), values.scale.end());
    const int64_t blocks = (shape.tokens + kCacheBlockTokens - 1) / kCacheBlockTokens + 1;
    std::vector<int64_t> all(static_cast<size_t>(blocks * kCacheBlockTokens));
    std::iota(all.begin(), all.end(), 0);
    std::shuffle(all.begin(), all.end(), std::mt19937(41));
    std::copy_n(all.begin(), slots.size(), slots.begin());
    elements = 2 * std::ssize(all) * shape.columns();
    if (codes)
      code_cache.resize(static_cast<size_t>(elements));
    else
      plain_cache.resize(static_cast<size_t>(elements));
  }

  PagedCache cache(void* memory, const float* key_scale, const float* key_zero,
                   const float* value_scale, const float* value_zero) const {
    PagedCache result;
    result.kv_heads = shape.kv_heads;
    result.head_dim = shape.head_dim;
    const int64_t bytes = elements / 2 * (holds_codes ? 1 : static_cast<int64_t>(sizeof(T)));
    auto* const first = static_cast<char*>(memory);
    result.keys = {first, holds_codes ? key_scale : nullptr, holds_codes ? key_zero : nullptr};
    result.values = {first + bytes, holds_codes ? value_scale : nullptr,
                     holds_codes ? value_zero : nullptr};
    return result;
  }
  PagedCache cache() {
    return cache(holds_codes ? static_cast<void*>(code_cache.data()) : plain_cache.data(),
                 keys.scale.data(), keys.zero.data(), values.scale.data(), values.zero.data());
  }

  CacheStoreArguments<T> store() {
    CacheStoreArguments<T> result;
    result.keys = keys.values.data();
    result.values = values.values.data();
    result.slots = slots.data();
    result.tokens = shape.tokens;
    result.row_stride = shape.row_stride();
    result.cache = cache();
    return result;
  }
  CacheLoadArguments<T> load() {
    const CacheStoreArguments<T> stored = store();
    return {stored.keys,   stored.values,     stored.slots,
            stored.tokens, stored.row_stride, stored.cache};
  }

  QuantizeShape shape;
  bool holds_codes;
  QuantizeCase<T> keys, values;
  std::vector<int64_t> slots;
  int64_t elements = 0;
  std::vector<uint8_t> code_cache;
  std::vector<T> plain_cache;
};

}  // namespace kvcalib::kernels
