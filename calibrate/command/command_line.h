// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "calibrate/command/options.h"
#include "calibrate/command/parser.h"

namespace kvcalib {

// `arguments` are those after the command's name.  All throw UsageError for what is wrong with
// them, HelpAsked for --help.
CalibrateOptions parse_calibrate(const Heading& heading, const std::vector<std::string>& arguments);
EvaluateOptions parse_evaluate(const Heading& heading, const std::vector<std::string>& arguments);
ExportOptions parse_export(const Heading& heading, const std::vector<std::string>& arguments);
EqualiseOptions parse_equalise(const Heading& heading, const std::vector<std::string>& arguments);
VerifyOptions parse_verify(const Heading& heading, const std::vector<std::string>& arguments);
InspectOptions parse_inspect(const Heading& heading, const std::vector<std::string>& arguments);
PlanOptions parse_plan(const Heading& heading, const std::vector<std::string>& arguments);
ShardOptions parse_shard(const Heading& heading, const std::vector<std::string>& arguments);

}  // namespace kvcalib
