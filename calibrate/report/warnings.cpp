// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/warnings.h"

namespace kvcalib {

void warn(std::ostream& out, const std::vector<std::string>& warnings) {
  for (const std::string& warning : warnings) out << "kvcalib: warning: " << warning << "\n";
  out << std::flush;
}

}  // namespace kvcalib
