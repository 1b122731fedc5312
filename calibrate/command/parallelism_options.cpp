// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/parallelism_options.h"

#include "calibrate/command/shared_options.h"
#include "calibrate/data/window_request.h"
#include "calibrate/engine/pass_plan.h"
#include "sharding/files/error.h"

namespace kvcalib {

void add_parallelism(Parser& parser, std::string& devices, int64_t& micro_batch_tokens) {
  parser.value({"Parallelism", "devices",
                "cpu, cpu:N, gpu, gpu:N or a list as 0,2,3 (default: gpu if any)", "LIST"},
               devices);
  parser.number<int64_t>(
      {"Parallelism", "micro-batch",
       concat("tokens computed at a time (default: ", default_micro_batch(c10::kCUDA), " on GPUs, ",
              default_micro_batch(c10::kCPU), " on CPUs)"),
       "TOKENS"},
      1, micro_batch_tokens);
}

void check_micro_batch(const Parser& parser, int64_t tokens) {
  check_limit(parser, "micro-batch", tokens, kMostTokens);
}

}  // namespace kvcalib
