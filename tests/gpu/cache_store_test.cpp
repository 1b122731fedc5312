// SPDX-License-Identifier: Apache-2.0
#include "kernels/cache_store.h"

#include <stdexcept>

#include "tests/gpu/device_array.h"
#include "tests/kernels/cache_case.h"

namespace kvcalib::kernels {
namespace {

// A side's operands on the GPU.
template <typename T>
class DeviceSide {
 public:
  DeviceSide(CachedSide<T>& side, int64_t offset)
      : side_(side),
        values_(side.values, offset),
        cache_(side.cache),
        codes_(side.codes),
        scale_(side.scale),
        zero_(side.zero),
        counts_(side.counts) {}

  CachedTensor<T> tensor(const CachedTensor<T>& on_host) {
    CachedTensor<T> result = on_host;
    result.values = values_.data();
    result.cache = side_.codes.empty() ? static_cast<void*>(cache_.data()) : codes_.data();
    if (result.scale != nullptr) result.scale = scale_.data();
    if (result.zero != nullptr) result.zero = zero_.data();
    return result;
  }

  CodeCount* counts(const CodeCount* on_host) {
    return on_host == nullptr ? nullptr : counts_.data();
  }

  void to_host() {
    side_.values = values_.to_host();
    side_.cache = cache_.to_host();
    side_.codes = codes_.to_host();
    side_.counts = counts_.to_host();
  }

 private:
  CachedSide<T>& side_;
  DeviceArray<T> values_, cache_;
  DeviceArray<uint8_t> codes_;
  DeviceArray<float> scale_, zero_;
  DeviceArray<CodeCount> counts_;
};

// `offset`: 1 for rows that no wide access fits.
template <typename T, typename Arguments, typename Call>
CacheCase<T> on_gpu(CacheCase<T> test, Arguments arguments, int64_t offset, Call call) {
  DeviceSide<T> keys(test.keys, offset), values(test.values, offset);
  DeviceArray<int64_t> slots(test.slots);
  arguments.keys = keys.tensor(arguments.keys);
  arguments.values = values.tensor(arguments.values);
  arguments.slots = slots.data();
  if constexpr (std::is_same_v<Arguments, CacheStoreArguments<T>>) {
    arguments.key_counts = keys.counts(arguments.key_counts);
    arguments.value_counts = values.counts(arguments.value_counts);
  }
  call(arguments);
  keys.to_host();
  values.to_host();
  return test;
}

template <typename T>
CacheCase<T> stored_on_gpu(CacheCase<T> test, int64_t offset, cudaStream_t stream) {
  return on_gpu(test, test.storing(), offset,
                [&](const auto& arguments) { cache_store(arguments, stream); });
}

template <typename T>
CacheCase<T> stored_by_the_twin(CacheCase<T> test) {
  cpu::cache_store(test.storing(), 0, test.shape.tokens);
  return test;
}

template <typename T>
class GpuCacheStore : public GpuTest {};
TYPED_TEST_SUITE(GpuCacheStore, DeviceElementTypes);

TYPED_TEST(GpuCacheStore, HasTheBitsAndCountsOfTheCpuTwin) {
  over_cache_cases<TypeParam>([&](const CacheCase<TypeParam>& before) {
    for (const int64_t offset : {0, 1})
      expect_same(stored_on_gpu(before, offset, this->stream_), stored_by_the_twin(before));
  });
}

// Enough tokens for many blocks, whose counts meet; and none.
TYPED_TEST(GpuCacheStore, HasTheBitsAndCountsOfTheCpuTwinForManyTokens) {
  for (const QuantizeShape& shape : {QuantizeShape{20000, 8, 128, 256}, {70000, 1, 8, 0}}) {
    for (const bool codes : {false, true}) {
      CacheCase<TypeParam> test(shape, codes);
      expect_same(stored_on_gpu(test, 0, this->stream_), stored_by_the_twin(test));
      test.shape.tokens = 0;
      expect_same(stored_on_gpu(test, 0, this->stream_), test);
    }
  }
}

// Steps of tiny and huge scales, by which another division goes.
TYPED_TEST(GpuCacheStore, HasTheBitsOfTheCpuTwinForEveryScale) {
  CacheCase<TypeParam> test({256, 1, 256, 0}, true);
  for (size_t i = 0; i < test.keys.values.size(); ++i)
    test.keys.values[i] = {static_cast<uint16_t>(i)};
  for (const CodeRounding rounding : {CodeRounding::kToEven, CodeRounding::kAwayFromZero}) {
    test.rounding = rounding;
    expect_same(stored_on_gpu(test, 0, this->stream_), stored_by_the_twin(test));
    CacheCase<TypeParam> wide = test;
    for (size_t i = 0; i < 256; ++i)
      wide.keys.scale[i] = std::ldexp(test.keys.scale[i], static_cast<int>(i) * 15 / 16 - 120);
    expect_same(stored_on_gpu(wide, 0, this->stream_), stored_by_the_twin(wide));
  }
}

TYPED_TEST(GpuCacheStore, IsLoadedAsItWasReadBack) {
  for (const bool codes : {false, true}) {
    for (const QuantizeShape& shape : quantize_shapes()) {
      for (const int64_t offset : {0, 1}) {
        const auto store = [&](CacheCase<TypeParam>& test) {
          test = stored_on_gpu(test, offset, this->stream_);
        };
        auto [stored, wiped] = stored_and_wiped(CacheCase<TypeParam>(shape, codes), store);
        const CacheCase<TypeParam> loaded =
            on_gpu(wiped, wiped.loading(), offset,
                   [&](const auto& arguments) { cache_load(arguments, this->stream_); });
        expect_same(loaded, stored);
      }
    }
  }
}

TYPED_TEST(GpuCacheStore, RefusesArgumentsThatDoNotFit) {
  CacheCase<TypeParam> test({1, 2, 8, 0}, true);
  test.shape.others = -1;
  EXPECT_THROW(cache_store(test.storing(), this->stream_), std::invalid_argument);
  EXPECT_THROW(cache_load(test.loading(), this->stream_), std::invalid_argument);
}

}  // namespace
}  // namespace kvcalib::kernels
