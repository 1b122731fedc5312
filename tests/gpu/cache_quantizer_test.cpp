// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/cache_quantizer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "sharding/streaming/device.h"
#include "tests/engine/quantizer_fixture.h"

namespace kvcalib {
namespace {

// 16-bit values are their own roundings, so that floats on the CPU become what they become.
TEST(GpuCacheQuantizer, HasTheBitsAndCountsOfTheCpu) {
  if (gpu_count() == 0) GTEST_SKIP() << "no GPU is visible";
  at::manual_seed(0);
  for (const WeightType weights : {WeightType::kFloat16, WeightType::kBFloat16}) {
    const auto type = weights == WeightType::kFloat16 ? at::kHalf : at::kBFloat16;
    for (const CacheFormat::Kind kind : kCacheKinds) {
      const ModelConfig config = small_model(weights);
      const CacheFormat format = random_format(kind, config);
      CacheQuantizer on_cpu(format, config, at::kCPU), on_gpu(format, config, at::kCUDA);
      StreamProfile cpu_codes, gpu_codes;
      for (int64_t layer = 0; layer < 3; ++layer) {
        const at::Tensor gpu = at::randn({300, 8, 16}, at::device(at::kCUDA).dtype(type));
        const at::Tensor cpu = gpu.cpu().to(at::kFloat);
        on_cpu.apply(layer, cpu.narrow(1, 4, 2), cpu.narrow(1, 6, 2));
        on_gpu.apply(layer, gpu.narrow(1, 4, 2), gpu.narrow(1, 6, 2));
        EXPECT_TRUE(at::equal(gpu.cpu().to(at::kFloat), cpu));
      }
      on_cpu.fill_codes(cpu_codes);
      on_gpu.fill_codes(gpu_codes);
      EXPECT_EQ(gpu_codes, cpu_codes);
    }
  }
}

TEST(GpuCacheQuantizer, RefusesTheOtherSixteenBitType) {
  if (gpu_count() == 0) GTEST_SKIP() << "no GPU is visible";
  const CacheQuantizer quantizer({}, small_model(), at::kCUDA);
  const at::Tensor keys = at::zeros({5, 2, 16}, at::device(at::kCUDA).dtype(at::kBFloat16));
  EXPECT_THROW(quantizer.apply_keys(0, keys), c10::Error);
}

}  // namespace
}  // namespace kvcalib
