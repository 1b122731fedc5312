// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/command_line.h"
#include "calibrate/command/commands.h"

namespace kvcalib {

int run_command(const Command& command, const std::vector<std::string>& arguments) {
  if (const std::optional<int> exit_code = run_quickly(command, arguments)) return *exit_code;
  const std::vector<std::string> own(arguments.begin() + 1, arguments.end());
  const Heading& heading = command.heading;
  if (heading.name == "calibrate") return run_calibrate(parse_calibrate(heading, own), arguments);
  if (heading.name == "evaluate") return run_evaluate(parse_evaluate(heading, own), arguments);
  if (heading.name == "plan") return run_plan(parse_plan(heading, own));
  if (heading.name == "shard") return run_shard(parse_shard(heading, own));
  throw UsageError(concat("the command ", heading.name, " has nothing to run"));
}

}  // namespace kvcalib
