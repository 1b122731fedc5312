// SPDX-License-Identifier: Apache-2.0
#include "calibrate/delivery/program_version.h"

namespace kvcalib {

std::string program_version() { return KVCALIB_VERSION; }

}  // namespace kvcalib
