// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "kernels/cache_store.h"
#include "tests/kernels/quantize_case.h"

namespace kvcalib::kernels {

// K or V of some tokens in host memory, and the cache that they go to.
template <typename T>
struct CachedSide {
  std::vector<T> values;
  std::vector<T> cache;        // one of the two has elements
  std::vector<uint8_t> codes;  // what a call does not write stays kUntouched
  std::vector<float> scale, zero;
  std::vector<CodeCount> counts;
};

// The operands of cache_store and cache_load.
template <typename T>
struct CacheCase {
  static constexpr uint8_t kUntouched = 0x5a;

  // The tokens' slots are shuffled over a few blocks more than they fill; every ninth token is not
  // stored.
  CacheCase(const QuantizeShape& shape, bool codes) : shape(shape), codes(codes) {
    const int64_t blocks = (shape.tokens + kBlockTokens - 1) / kBlockTokens + 2;
    give_all_a_slot(blocks);
    for (size_t token = 4; token < slots.size(); token += 9) slots[token] = -1;
    QuantizeCase<T> operands(shape, CacheCode::kInt8);
    for (CachedSide<T>* side : {&keys, &values}) {
      if (side == &values) operands.make_special();
      side->values = operands.values;
      if (codes) {
        side->scale = operands.scale;
        side->zero = operands.zero;
        side->counts = operands.counts;
      }
      const auto elements = static_cast<size_t>(blocks * kBlockTokens * shape.columns());
      side->codes.assign(codes ? elements : 0, kUntouched);
      side->cache.resize(codes ? 0 : elements);
      std::memset(static_cast<void*>(side->cache.data()), kUntouched,
                  side->cache.size() * sizeof(T));
    }
  }

  void give_all_a_slot(int64_t blocks) {
    slots.resize(static_cast<size_t>(blocks * kBlockTokens));
    std::iota(slots.begin(), slots.end(), 0);
    std::shuffle(slots.begin(), slots.end(), std::mt19937(31));
    slots.resize(static_cast<size_t>(shape.tokens));
  }

  CachedTensor<T> tensor(CachedSide<T>& side) {
    return {.values = side.values.data(),
            .cache = codes ? static_cast<void*>(side.codes.data())
                           : static_cast<void*>(side.cache.data()),
            .scale = codes ? side.scale.data() : nullptr,
            .zero = codes ? side.zero.data() : nullptr};
  }

  CacheStoreArguments<T> storing() {
    return {.keys = tensor(keys),
            .values = tensor(values),
            .slots = slots.data(),
            .tokens = shape.tokens,
            .row_stride = shape.row_stride(),
            .kv_heads = shape.kv_heads,
            .head_dim = shape.head_dim,
            .codes = codes,
            .rounding = rounding,
            .read_back = read_back,
            .type = type,
            .key_counts = codes && counted ? keys.counts.data() : nullptr,
            .value_counts = codes && counted ? values.counts.data() : nullptr};
  }

  CacheLoadArguments<T> loading() {
    return {.keys = tensor(keys),
            .values = tensor(values),
            .slots = slots.data(),
            .tokens = shape.tokens,
            .row_stride = shape.row_stride(),
            .kv_heads = shape.kv_heads,
            .head_dim = shape.head_dim,
            .codes = codes,
            .type = type};
  }

  QuantizeShape shape;
  bool codes;
  CodeRounding rounding = CodeRounding::kToEven;
  bool read_back = true, counted = true;
  std::optional<CacheType> type;
  std::vector<int64_t> slots;
  CachedSide<T> keys, values;
};

// All tokens stored by store(test), read back, and their rows then wiped: what load(test) is to
// fill in again.  Without NaN, of which codes hold nothing.
template <typename T, typename Store>
std::pair<CacheCase<T>, CacheCase<T>> stored_and_wiped(CacheCase<T> test, Store store) {
  test.give_all_a_slot((test.shape.tokens + kBlockTokens - 1) / kBlockTokens + 2);
  for (CachedSide<T>* side : {&test.keys, &test.values})
    for (T& value : side->values)
      if (to_float(value) != to_float(value)) value = from_float<T>(1.0f);
  store(test);
  CacheCase<T> wiped = test;
  for (CachedSide<T>* side : {&wiped.keys, &wiped.values})
    for (int64_t token = 0; token < test.shape.tokens; ++token)
      std::fill_n(side->values.begin() + token * test.shape.row_stride(), test.shape.columns(),
                  from_float<T>(-7.0f));
  return {test, wiped};
}

template <typename T>
void expect_same(const CacheCase<T>& found, const CacheCase<T>& expected) {
  for (const auto side : {&CacheCase<T>::keys, &CacheCase<T>::values}) {
    const CachedSide<T>&left = found.*side, &right = expected.*side;
    EXPECT_TRUE(same_bits(left.values, right.values)) << found.shape;
    EXPECT_TRUE(same_bits(left.cache, right.cache)) << found.shape;
    EXPECT_EQ(left.codes, right.codes) << found.shape;
    EXPECT_TRUE(left.counts == right.counts) << found.shape;
  }
}

// Calls use(test) for every kind of call.
template <typename T, typename Use>
void over_cache_cases(Use use) {
  for (const QuantizeShape& shape : quantize_shapes()) {
    for (const bool read_back : {false, true}) {
      CacheCase<T> test(shape, false);
      test.read_back = read_back;
      use(test);
      for (const CodeRounding rounding : {CodeRounding::kToEven, CodeRounding::kAwayFromZero}) {
        for (const bool counted : {false, true}) {
          CacheCase<T> coded(shape, true);
          coded.rounding = rounding;
          coded.read_back = read_back;
          coded.counted = counted;
          use(coded);
        }
      }
    }
  }
}

}  // namespace kvcalib::kernels
