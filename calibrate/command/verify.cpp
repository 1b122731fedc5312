// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "calibrate/command/commands.h"
#include "calibrate/report/standard_output.h"
#include "calibrate/runtimes/runtime_table.h"
#include "sharding/files/error.h"
#include "sharding/files/json_writer.h"

namespace kvcalib {

int run_verify(const VerifyOptions& options) {
  const auto runtime = options.runtime.open();
  const VerifyReport report = runtime->verify(options.directory, options.serving_ranks);
  if (options.json) {
    const nlohmann::ordered_json result = {{"directory", options.directory.string()},
                                           {"runtime", runtime->release()},
                                           {"ok", report.good()},
                                           {"faults", report.faults},
                                           {"notes", report.notes}};
    print(json_text(result));
    return report.good() ? 0 : 1;
  }
  std::string text;
  for (const std::string& fault : report.faults) text += concat("fault: ", fault, "\n");
  for (const std::string& note : report.notes) text += concat("note: ", note, "\n");
  print(concat(text, options.directory.string(), ": ",
               report.good() ? runtime->title() + " would load these scales as they are meant"
                             : std::to_string(report.faults.size()) + " fault(s)",
               "\n"));
  return report.good() ? 0 : 1;
}

}  // namespace kvcalib
