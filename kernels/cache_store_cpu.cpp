// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <initializer_list>

#include "kernels/cache_store.h"
#include "kernels/instruction_set.h"

namespace kvcalib::kernels::cpu {
namespace {

const CacheLoops& loops_of(const PagedCache& cache) {
  const RowLoops& rows = *fastest_instruction_set().rows;
  return cache.type == CacheType::kHalf ? rows.half_cache : rows.bfloat16_cache;
}

void store_head(float* head, const PagedTensor& tensor, int64_t channel, int64_t offset,
                const CacheStoreArguments<float>& arguments, const CacheLoops& loops) {
  const int64_t width = arguments.cache.head_dim;
  if (!tensor.holds_codes()) {
    auto* const stored = static_cast<float*>(tensor.elements) + offset;
    std::copy_n(head, width, stored);
    loops.round(stored, width);
    if (arguments.read_back) std::copy_n(stored, width, head);
    return;
  }
  auto* const codes = static_cast<uint8_t*>(tensor.elements) + offset;
  loops.encode(head, tensor.scale + channel, tensor.zero + channel, width,
               arguments.rounding == CodeRounding::kHalfAway, codes);
  if (arguments.read_back)
    loops.decode(codes, tensor.scale + channel, tensor.zero + channel, width, head);
}

}  // namespace

void cache_store(const CacheStoreArguments<float>& arguments, int64_t first_token,
                 int64_t last_token) {
  arguments.check();
  const PagedCache& cache = arguments.cache;
  const CacheLoops& loops = loops_of(cache);
  for (int64_t token = first_token; token < last_token; ++token) {
    const int64_t row = token * arguments.row_stride;
    for (int64_t head = 0; head < cache.kv_heads; ++head) {
      const int64_t channel = head * cache.head_dim;
      const int64_t offset = cache.offset(arguments.slots[token], head);
      store_head(arguments.keys + row + channel, cache.keys, channel, offset, arguments, loops);
      store_head(arguments.values + row + channel, cache.values, channel, offset, arguments, loops);
    }
  }
}

void cache_load(const CacheLoadArguments<float>& arguments, int64_t first_token,
                int64_t last_token) {
  arguments.check();
  const PagedCache& cache = arguments.cache;
  const CacheLoops& loops = loops_of(cache);
  const auto load_head = [&](const PagedTensor& tensor, int64_t channel, int64_t offset,
                             float* head) {
    if (tensor.holds_codes())
      loops.decode(static_cast<const uint8_t*>(tensor.elements) + offset, tensor.scale + channel,
                   tensor.zero + channel, cache.head_dim, head);
    else
      std::copy_n(static_cast<const float*>(tensor.elements) + offset, cache.head_dim, head);
  };
  for (int64_t token = first_token; token < last_token; ++token) {
    const int64_t row = token * arguments.row_stride;
    for (int64_t head = 0; head < cache.kv_heads; ++head) {
      const int64_t channel = head * cache.head_dim;
      const int64_t offset = cache.offset(arguments.slots[token], head);
      load_head(cache.keys, channel, offset, arguments.keys + row + channel);
      load_head(cache.values, channel, offset, arguments.values + row + channel);
    }
  }
}

}  // namespace kvcalib::kernels::cpu
