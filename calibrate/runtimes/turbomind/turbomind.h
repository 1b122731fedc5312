// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string_view>

#include "calibrate/runtimes/runtime.h"

namespace kvcalib {

// TurboMind of LMDeploy v0.0.2 to v0.3.0 with quant_policy = 4: its row of the table of runtimes.
OutputNames turbomind_file_names();
std::unique_ptr<const Runtime> open_turbomind(std::string_view release);

}  // namespace kvcalib
