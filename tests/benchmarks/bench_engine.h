// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Device.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "sharding/files/seconds_since.h"

namespace kvcalib {

// What the command line of bench_engine says.
struct EngineBenchmark {
  std::filesystem::path weights;
  c10::Device device = c10::kCPU;
  int64_t windows = 0, length = 0;  // pass; of generate the prompts
  int64_t most_new = 0;             // generate only
  int64_t micro_batch_tokens = 0;   // pass only; 0: the default
  int64_t reading_threads = 0;
  int64_t repeat = 0;
  bool cold = false;             // read only
  int64_t ranks = 0, bytes = 0;  // gather only
};

// What bench_engine prints.  They throw Error for weights that cannot be read and GPUs that are not
// there.
nlohmann::ordered_json benchmark_pass(const EngineBenchmark& benchmark);
nlohmann::ordered_json benchmark_read(const EngineBenchmark& benchmark);
nlohmann::ordered_json benchmark_generate(const EngineBenchmark& benchmark);
nlohmann::ordered_json benchmark_gather(const EngineBenchmark& benchmark);

// Of at least one value.
inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace kvcalib
