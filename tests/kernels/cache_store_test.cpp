// SPDX-License-Identifier: Apache-2.0
#include "kernels/cache_store.h"

#include <stdexcept>

#include "tests/kernels/store_case.h"

namespace kvcalib::kernels {
namespace {

// What quantize_dequantize makes of the tokens.
std::vector<float> converted(QuantizeCase<float> tokens) {
  tokens.counted = false;
  cpu::quantize_dequantize(tokens.arguments(), 0, tokens.shape.tokens);
  return tokens.values;
}

void fill_heads(QuantizeCase<float>& tokens, float value) {
  for (int64_t token = 0; token < tokens.shape.tokens; ++token)
    std::fill_n(&tokens.at(token, 0, 0), tokens.shape.columns(), value);
}

TEST(CacheStore, ReadsBackAndLoadsWhatQuantizeDequantizeMakes) {
  for (const bool codes : {false, true})
    for (const QuantizeShape& shape : quantize_shapes())
      for (const CacheType type : {CacheType::kHalf, CacheType::kBfloat16}) {
        StoreCase<float> test(shape, codes);
        test.keys.type = test.values.type = type;
        const std::vector<float> keys = converted(test.keys), values = converted(test.values);
        const std::vector<float> keys_before = test.keys.values;
        CacheStoreArguments<float> store = test.store();
        store.cache.type = type;
        cpu::cache_store(store, 0, shape.tokens);
        EXPECT_TRUE(same_bits(test.keys.values, keys_before)) << shape;  // nothing was read back
        CacheLoadArguments<float> load = test.load();
        load.cache.type = type;
        fill_heads(test.keys, -7.0f);
        fill_heads(test.values, -7.0f);
        cpu::cache_load(load, 0, shape.tokens);
        EXPECT_TRUE(same_bits(test.keys.values, keys)) << shape << codes;
        EXPECT_TRUE(same_bits(test.values.values, values)) << shape << codes;
      }
}

TEST(CacheStore, ReadsBackInPlace) {
  for (const bool codes : {false, true}) {
    StoreCase<float> test({70, 3, 80, 80}, codes);
    const std::vector<float> keys = converted(test.keys), values = converted(test.values);
    CacheStoreArguments<float> store = test.store();
    store.read_back = true;
    cpu::cache_store(store, 0, 70);
    EXPECT_TRUE(same_bits(test.keys.values, keys));
    EXPECT_TRUE(same_bits(test.values.values, values));
  }
}

TEST(CacheStore, RoundsHalvesAsAsked) {
  for (const bool away : {false, true}) {
    StoreCase<float> test({9, 1, 8, 0}, true);
    test.keys.scale.assign(8, 0.5f);
    test.keys.zero.assign(8, 0.25f);
    const std::vector<float> steps{-128.5f, -2.5f, -1.5f, -0.5f, 0.5f, 1.5f, 2.25f, 126.5f, 127.5f};
    const std::vector<int> even{-128, -2, -2, 0, 0, 2, 2, 126, 127};
    const std::vector<int> expected_away{-128, -3, -2, -1, 1, 2, 2, 127, 127};
    for (int64_t token = 0; token < 9; ++token)
      for (int64_t i = 0; i < 8; ++i) test.keys.at(token, 0, i) = steps[token] * 0.5f + 0.25f;
    CacheStoreArguments<float> store = test.store();
    store.rounding = away ? CodeRounding::kHalfAway : CodeRounding::kHalfToEven;
    cpu::cache_store(store, 0, 9);
    for (int64_t token = 0; token < 9; ++token)
      EXPECT_EQ(test.code_cache[store.cache.offset(test.slots[token], 0)] - kCodeOffset,
                (away ? expected_away : even)[token])
          << steps[token];
  }
}

TEST(CacheStore, LeavesOtherSlotsAlone) {
  StoreCase<float> test({5, 2, 16, 0}, true);
  std::fill(test.code_cache.begin(), test.code_cache.end(), uint8_t{9});
  cpu::cache_store(test.store(), 1, 3);
  const PagedCache cache = test.cache();
  int64_t changed = 0;
  for (const uint8_t code : test.code_cache) changed += code == 9 ? 0 : 1;
  EXPECT_LE(changed, 2 * 2 * 2 * 16);
  for (const int64_t token : {0, 3, 4})
    EXPECT_EQ(test.code_cache[cache.offset(test.slots[token], 1)], 9);
}

TEST(CacheStore, RefusesInconsistentArguments) {
  StoreCase<float> test({5, 2, 16, 0}, true);
  CacheStoreArguments<float> store = test.store();
  store.row_stride = 31;
  EXPECT_THROW(cpu::cache_store(store, 0, 5), std::invalid_argument);
  store = test.store();
  store.slots = nullptr;
  EXPECT_THROW(cpu::cache_store(store, 0, 5), std::invalid_argument);
  CacheLoadArguments<float> load = test.load();
  load.cache.values.zero = nullptr;
  EXPECT_THROW(cpu::cache_load(load, 0, 5), std::invalid_argument);
}

}  // namespace
}  // namespace kvcalib::kernels
