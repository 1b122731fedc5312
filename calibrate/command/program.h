// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "calibrate/command/commands.h"

namespace kvcalib {

// Runs a command whose name is known: its exit code.
using CommandRunner =
    std::function<int(const Command& command, const std::vector<std::string>& arguments)>;

inline constexpr const char* kOutOfMemory =
    "out of memory; use a smaller --micro-batch, fewer --samples or more --devices (--dry-run "
    "tells what a run needs)";

// What a main() returns: that of the command, or of what it threw, which is told on stderr. Help
// and version are told here.
int run_program(int argc, char** argv, const CommandRunner& run);

}  // namespace kvcalib
