// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/command/options.h"
#include "calibrate/command/parser.h"

namespace kvcalib {

// A command of the program: a row of the table in commands.cpp.
struct Command {
  Heading heading;
  std::string_view summary;  // a line of the program's help
  // `arguments` are the program's own, the command's name first.  Results go to stdout, progress
  // and warnings to stderr.  Returns the exit code; throws Error for what the user can mend.
  int (*run)(const Command& command, const std::vector<std::string>& arguments);
};

std::span<const Command> commands();

// Throws UsageError, with the nearest name, where there is none of that name.
const Command& find_command(const std::string& name);

// The text of `kvcalib --help`.
std::string program_help();

// What the rows run.  `arguments` are the program's own, to start further ranks with.
int run_calibrate(const CalibrateOptions& options, const std::vector<std::string>& arguments);
int run_evaluate(const EvaluateOptions& options, const std::vector<std::string>& arguments);
int run_export(const ExportOptions& options);
int run_verify(const VerifyOptions& options);
int run_inspect(const InspectOptions& options);
int run_plan(const PlanOptions& options);
int run_shard(const ShardOptions& options);

}  // namespace kvcalib
