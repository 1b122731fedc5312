// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "calibrate/runtimes/turbomind/serving_memory.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

// The memory of a model in service, for several loads with both types of cache.
struct ServingPlan {
  struct Row {
    int64_t sessions = 0;
    CacheType type = CacheType::kSixteenBits;
    ServingMemory memory;
  };

  ModelConfig config;
  std::string runtime;  // "v0.3.0"
  std::string settings;
  ServingLoad load;  // `sessions` aside
  std::vector<Row> rows;
  int64_t fitting_sixteen_bits = 0, fitting_int8 = 0;  // sessions
  bool limited_by_entries = false;  // of the cache, not by the memory, in one of the two
  uint64_t calibration_bytes = 0;   // on each of as many GPUs, by default
  uint64_t evaluation_bytes = 0;    // the same, one micro-batch in a reading
  std::vector<std::string> notes;
};

// Its model, service and settings, a line each.
std::string serving_heading(const ServingPlan& plan);
std::string format_serving(const ServingPlan& plan);
std::string serving_json(const ServingPlan& plan);

}  // namespace kvcalib
