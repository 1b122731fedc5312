// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <nlohmann/json.hpp>

#include "calibrate/command/commands.h"
#include "calibrate/runtimes/runtime_table.h"

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
    std::cout << result.dump(2) << "\n";
    return report.good() ? 0 : 1;
  }
  for (const std::string& fault : report.faults) std::cout << "fault: " << fault << "\n";
  for (const std::string& note : report.notes) std::cout << "note: " << note << "\n";
  std::cout << options.directory.string() << ": "
            << (report.good() ? runtime->title() + " would load these scales as they are meant"
                              : std::to_string(report.faults.size()) + " fault(s)")
            << "\n";
  return report.good() ? 0 : 1;
}

}  // namespace kvcalib
