// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/command_line.h"
#include "calibrate/command/commands.h"

namespace kvcalib {

std::optional<int> run_quickly(const Command& command, const std::vector<std::string>& arguments) {
  const std::vector<std::string> own(arguments.begin() + 1, arguments.end());
  const Heading& heading = command.heading;
  if (heading.name == "export") return run_export(parse_export(heading, own));
  if (heading.name == "equalise") return run_equalise(parse_equalise(heading, own));
  if (heading.name == "verify") return run_verify(parse_verify(heading, own));
  if (heading.name == "inspect") return run_inspect(parse_inspect(heading, own));
  return std::nullopt;
}

}  // namespace kvcalib
