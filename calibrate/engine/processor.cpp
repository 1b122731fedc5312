// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/processor.h"

#include "kernels/instruction_set.h"
#include "sharding/streaming/device.h"

namespace kvcalib {

std::string processor(const c10::Device& device) {
  if (device.is_cpu()) return kernels::cpu::fastest_instruction_set().name;
  return gpu_properties(device).name;
}

}  // namespace kvcalib
