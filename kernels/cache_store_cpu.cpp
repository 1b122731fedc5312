// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <type_traits>

#include "kernels/cache_store.h"
#include "kernels/float_rows.h"
#include "kernels/instruction_set.h"

namespace kvcalib::kernels::cpu {
namespace {

template <typename T>
const CacheLoops& loops_of(std::optional<CacheType> type) {
  const RowLoops& rows = *fastest_instruction_set().rows;
  if constexpr (std::is_same_v<T, Half>) type = CacheType::kHalf;
  if constexpr (std::is_same_v<T, Bfloat16>) type = CacheType::kBfloat16;
  return cache_loops(rows, type);
}

// Rounded where T = float has a type.
template <typename T>
void store_values(const CacheLoops& loops, int64_t width, bool read_back, T* values, T* place) {
  std::copy_n(values, width, place);
  if constexpr (std::is_same_v<T, float>) {
    loops.round(place, width);
    if (read_back) std::copy_n(place, width, values);
  }
}

// All heads of one token of K or of V.
template <typename T>
void store_token(const CacheStoreArguments<T>& arguments, const CachedTensor<T>& tensor,
                 CodeCount* counts, const CacheLoops& loops, int64_t token) {
  const int64_t width = arguments.head_dim;
  for (int64_t head = 0; head < arguments.kv_heads; ++head) {
    T* const values = tensor.values + token * arguments.row_stride + head * width;
    const int64_t place = cache_offset(arguments.slots[token], head, arguments.kv_heads, width);
    if (!arguments.codes) {
      store_values(loops, width, arguments.read_back, values,
                   static_cast<T*>(tensor.cache) + place);
      continue;
    }
    float row[kLongestHead];
    std::transform(values, values + width, row, [](T value) { return to_float(value); });
    loops.encode(row, tensor.scale + head * width, tensor.zero + head * width, width,
                 arguments.rounding, static_cast<uint8_t*>(tensor.cache) + place,
                 counts == nullptr ? nullptr : counts + head);
    if (arguments.read_back) std::transform(row, row + width, values, from_float<T>);
  }
}

template <typename T>
void load_token(const CacheLoadArguments<T>& arguments, const CachedTensor<T>& tensor,
                const CacheLoops& loops, int64_t token) {
  const int64_t width = arguments.head_dim;
  std::vector<float> scratch;
  for (int64_t head = 0; head < arguments.kv_heads; ++head) {
    T* const values = tensor.values + token * arguments.row_stride + head * width;
    const int64_t place = cache_offset(arguments.slots[token], head, arguments.kv_heads, width);
    if (!arguments.codes) {
      std::copy_n(static_cast<const T*>(tensor.cache) + place, width, values);
      continue;
    }
    float* const row = floats_for(values, width, scratch);
    loops.decode(static_cast<const uint8_t*>(tensor.cache) + place, tensor.scale + head * width,
                 tensor.zero + head * width, width, row);
    store_floats(row, width, values);
  }
}

}  // namespace

template <typename T>
void cache_store(const CacheStoreArguments<T>& arguments, int64_t first_token, int64_t last_token) {
  arguments.check();
  const CacheLoops& loops = loops_of<T>(arguments.type);
  for (int64_t token = first_token; token < last_token; ++token) {
    if (arguments.slots[token] < 0) continue;
    store_token(arguments, arguments.keys, arguments.key_counts, loops, token);
    store_token(arguments, arguments.values, arguments.value_counts, loops, token);
  }
}

template <typename T>
void cache_load(const CacheLoadArguments<T>& arguments, int64_t first_token, int64_t last_token) {
  arguments.check();
  const CacheLoops& loops = loops_of<T>(arguments.type);
  for (int64_t token = first_token; token < last_token; ++token) {
    require(arguments.slots[token] >= 0, "cache_load: a token has a slot");
    load_token(arguments, arguments.keys, loops, token);
    load_token(arguments, arguments.values, loops, token);
  }
}

template void cache_store(const CacheStoreArguments<float>&, int64_t, int64_t);
template void cache_store(const CacheStoreArguments<Half>&, int64_t, int64_t);
template void cache_store(const CacheStoreArguments<Bfloat16>&, int64_t, int64_t);
template void cache_load(const CacheLoadArguments<float>&, int64_t, int64_t);
template void cache_load(const CacheLoadArguments<Half>&, int64_t, int64_t);
template void cache_load(const CacheLoadArguments<Bfloat16>&, int64_t, int64_t);

}  // namespace kvcalib::kernels::cpu
