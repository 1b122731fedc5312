// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "calibrate/command/options.h"

namespace kvcalib {

// --help was given: `text` is what to print.
struct HelpAsked {
  std::string text;
};

// `arguments` are those after the command's name.  All throw UsageError for what is wrong with
// them, HelpAsked for --help.
CalibrateOptions parse_calibrate(const std::vector<std::string>& arguments);
ExportOptions parse_export(const std::vector<std::string>& arguments);
VerifyOptions parse_verify(const std::vector<std::string>& arguments);
InspectOptions parse_inspect(const std::vector<std::string>& arguments);
ShardOptions parse_shard(const std::vector<std::string>& arguments);

}  // namespace kvcalib
