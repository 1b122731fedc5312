// SPDX-License-Identifier: Apache-2.0
#include "kernels/cache_store.h"

#include <stdexcept>

#include "tests/gpu/device_array.h"
#include "tests/kernels/store_case.h"

namespace kvcalib::kernels {
namespace {

// Heads of whole accesses.
std::vector<QuantizeShape> store_shapes() {
  return {{5, 4, 128, 1024}, {37, 1, 64, 0}, {7, 3, 80, 80},   {130, 2, 96, 0},
          {3, 2, 256, 256},  {70, 5, 8, 8},  {1, 64, 128, 64}, {20000, 8, 128, 256}};
}

// What the cache then holds, as floats, and what is read back of it.
template <typename T>
struct Stored {
  std::vector<uint8_t> codes;
  std::vector<T> plain, keys, values, loaded_keys, loaded_values;
};

template <typename T>
Stored<T> on_gpu(StoreCase<T> test, CodeRounding rounding, bool read_back, cudaStream_t stream) {
  DeviceArray<T> keys(test.keys.values), values(test.values.values), plain(test.plain_cache);
  DeviceArray<T> loaded_keys(test.keys.values), loaded_values(test.values.values);
  DeviceArray<uint8_t> codes(test.code_cache);
  DeviceArray<float> key_scale(test.keys.scale), key_zero(test.keys.zero);
  DeviceArray<float> value_scale(test.values.scale), value_zero(test.values.zero);
  DeviceArray<int64_t> slots(test.slots);
  CacheStoreArguments<T> store = test.store();
  store.cache =
      test.cache(test.holds_codes ? static_cast<void*>(codes.data()) : plain.data(),
                 key_scale.data(), key_zero.data(), value_scale.data(), value_zero.data());
  store.keys = keys.data();
  store.values = values.data();
  store.slots = slots.data();
  store.rounding = rounding;
  store.read_back = read_back;
  cache_store(store, stream);
  cache_load(CacheLoadArguments<T>{loaded_keys.data(), loaded_values.data(), slots.data(),
                                   store.tokens, store.row_stride, store.cache},
             stream);
  return {codes.to_host(),  plain.to_host(),       keys.to_host(),
          values.to_host(), loaded_keys.to_host(), loaded_values.to_host()};
}

// The CPU twin has floats alone.
template <typename T>
StoreCase<float> as_floats(const StoreCase<T>& test) {
  StoreCase<float> floats(test.shape, test.holds_codes);
  floats.keys.values = widened(test.keys.values);
  floats.values.values = widened(test.values.values);
  return floats;
}

template <typename T>
class GpuCacheStore : public GpuTest {};
TYPED_TEST_SUITE(GpuCacheStore, DeviceElementTypes);

TYPED_TEST(GpuCacheStore, HasTheBitsOfTheCpuTwin) {
  constexpr CacheType kType =
      std::is_same_v<TypeParam, Half> ? CacheType::kHalf : CacheType::kBfloat16;
  for (const bool codes : {false, true})
    for (const QuantizeShape& shape : store_shapes())
      for (const CodeRounding rounding : {CodeRounding::kHalfToEven, CodeRounding::kHalfAway})
        for (const bool read_back : {false, true}) {
          const StoreCase<TypeParam> test(shape, codes);
          StoreCase<float> twin = as_floats(test);
          CacheStoreArguments<float> store = twin.store();
          store.cache.type = kType;
          store.rounding = rounding;
          store.read_back = read_back;
          cpu::cache_store(store, 0, shape.tokens);
          const Stored<TypeParam> found = on_gpu(test, rounding, read_back, this->stream_);
          EXPECT_TRUE(found.codes == twin.code_cache) << shape << codes;
          EXPECT_TRUE(same_bits(widened(found.plain), twin.plain_cache)) << shape << codes;
          EXPECT_TRUE(same_bits(widened(found.keys), twin.keys.values)) << shape << codes;
          EXPECT_TRUE(same_bits(widened(found.values), twin.values.values)) << shape << codes;
          CacheLoadArguments<float> load = twin.load();
          load.cache.type = kType;
          cpu::cache_load(load, 0, shape.tokens);
          EXPECT_TRUE(same_bits(widened(found.loaded_keys), twin.keys.values)) << shape << codes;
          EXPECT_TRUE(same_bits(widened(found.loaded_values), twin.values.values))
              << shape << codes;
        }
}

TYPED_TEST(GpuCacheStore, RefusesHeadsThatAreNotOfWholeAccesses) {
  const StoreCase<TypeParam> test({3, 2, 12, 0}, true);
  EXPECT_THROW(on_gpu(test, CodeRounding::kHalfToEven, false, this->stream_),
               std::invalid_argument);
}

}  // namespace
}  // namespace kvcalib::kernels
