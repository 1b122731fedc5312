// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace kvcalib {

// This process goes on as kvcalib-compute, which is beside this program, or where it was installed.
// Throws Error when it cannot be started.
[[noreturn]] void become_compute_program(const std::vector<std::string>& arguments);

}  // namespace kvcalib
