// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/verify.h"

#include <iostream>
#include <nlohmann/json.hpp>

#include "calibrate/command/commands.h"

namespace kvcalib {

int run_verify(const VerifyOptions& options) {
  const RuntimeRelease release = RuntimeRelease::parse(options.runtime);
  const VerifyReport report = verify_directory(options.directory, release, options.serving_ranks);
  const bool good = report.faults.empty();
  if (options.json) {
    const nlohmann::ordered_json result = {{"directory", options.directory.string()},
                                           {"runtime", release.name()},
                                           {"ok", good},
                                           {"faults", report.faults},
                                           {"notes", report.notes}};
    std::cout << result.dump(2) << "\n";
    return good ? 0 : 1;
  }
  for (const std::string& fault : report.faults) std::cout << "fault: " << fault << "\n";
  for (const std::string& note : report.notes) std::cout << "note: " << note << "\n";
  std::cout << options.directory.string() << ": "
            << (good ? "TurboMind " + release.name() + " would load these scales as they are meant"
                     : std::to_string(report.faults.size()) + " fault(s)")
            << "\n";
  return good ? 0 : 1;
}

}  // namespace kvcalib
