// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace kvcalib {

// "0.1.0": of this program, for what it delivers.
std::string program_version();

}  // namespace kvcalib
