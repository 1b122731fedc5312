// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace kvcalib {

// Settings of NCCL that hold for the whole process; they are variables of the environment, so call
// it before the first thread starts.
//   NVLink multicast is off: an all-gather gains nothing by it, and where virtual machines share an
//   NVSwitch a program that dies with it can take the others' GPUs out of service.
//   NCCL's log goes to memory, unless NCCL_DEBUG or NCCL_DEBUG_FILE say where the user wants it.
void prepare_nccl();

// What NCCL has logged so far; empty when the user has the log elsewhere.
std::string nccl_log();

}  // namespace kvcalib
