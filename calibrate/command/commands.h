// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/command/options.h"
#include "calibrate/command/parser.h"

namespace kvcalib {

// A command of the program, as its help tells of it: a row of the table in commands.cpp.
struct Command {
  Heading heading;
  std::string_view summary;  // a line of the program's help
};

std::span<const Command> commands();

// Throws UsageError, with the nearest name, where there is none of that name.
const Command& find_command(const std::string& name);

// The text of `kvcalib --help`.
std::string program_help();

// Runs a command.  `arguments` are the program's own, the command's name first.  Results go to
// stdout, progress and warnings to stderr.  Returns the exit code; throws Error for what the user
// can mend.
int run_command(const Command& command, const std::vector<std::string>& arguments);
// The same for those that compute nothing, which takes no PyTorch; nothing for any other.
std::optional<int> run_quickly(const Command& command, const std::vector<std::string>& arguments);

// What they run.  `arguments` are the program's own, to start further ranks with.
int run_calibrate(const CalibrateOptions& options, const std::vector<std::string>& arguments);
int run_evaluate(const EvaluateOptions& options, const std::vector<std::string>& arguments);
// evaluate --memory.
int run_memory(const EvaluateOptions& options);
int run_export(const ExportOptions& options);
int run_equalise(const EqualiseOptions& options);
int run_verify(const VerifyOptions& options);
int run_inspect(const InspectOptions& options);
int run_plan(const PlanOptions& options);
int run_shard(const ShardOptions& options);

}  // namespace kvcalib
