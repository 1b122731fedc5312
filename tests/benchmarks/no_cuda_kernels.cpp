// SPDX-License-Identifier: Apache-2.0
#include "tests/benchmarks/kernel_benchmark.h"

namespace kvcalib::kernels {

void add_gpu_kernels() {
  benchmark::RegisterBenchmark(
      "gpu", [](benchmark::State& state) { state.SkipWithError("no GPU: built without CUDA"); });
}

}  // namespace kvcalib::kernels
