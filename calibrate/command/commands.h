// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "calibrate/command/options.h"

namespace kvcalib {

// The five commands.  Results go to stdout, progress and warnings to stderr.  All return the exit
// code and throw Error for what the user can mend.

// `arguments` are the program's own, to start further ranks with.
int run_calibrate(const CalibrateOptions& options, const std::vector<std::string>& arguments);
int run_export(const ExportOptions& options);
int run_verify(const VerifyOptions& options);
int run_inspect(const InspectOptions& options);
int run_shard(const ShardOptions& options);

// "0.1.0"
std::string program_version();

}  // namespace kvcalib
