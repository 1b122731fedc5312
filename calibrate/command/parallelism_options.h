// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "calibrate/command/parser.h"

namespace kvcalib {

// What the commands that compute declare alike.
void add_parallelism(Parser& parser, std::string& devices, int64_t& micro_batch_tokens);

// Throws UsageError.
void check_micro_batch(const Parser& parser, int64_t tokens);

}  // namespace kvcalib
