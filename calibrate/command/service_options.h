// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "calibrate/command/options.h"
#include "calibrate/command/parser.h"

namespace kvcalib {

// What the commands declare alike that tell of memory in service: how many sessions, how long.
void add_loads(Parser& parser, const std::string& group, ServiceOptions& service);

// Throws UsageError.
void check_loads(const Parser& parser, const ServiceOptions& service);

}  // namespace kvcalib
