// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "calibrate/command/devices.h"
#include "calibrate/data/windows.h"
#include "calibrate/delivery/target.h"
#include "calibrate/engine/pass_plan.h"

namespace kvcalib {

// What --dry-run tells: the resolved settings, bytes to read, memory per device, files to write.
struct CalibrationPlan {
  ModelConfig config;
  uint64_t layer_bytes = 0;  // stored_layer_bytes of the directory or the shape
  Target target;
  WindowRequest windows;
  DeviceList devices;
  int64_t ranks = 1;
  int64_t micro_batch_tokens = 0;  // as PassSettings has it
  std::string place;               // where the results go
  bool histograms = false;         // are gathered

  int64_t micro_batch_windows() const;
  uint64_t bytes_to_read() const;      // all ranks together: every layer once
  MemoryPlan memory() const;           // per device
  HostMemoryPlan host_memory() const;  // of the ranks of this machine
};

std::string format_plan(const CalibrationPlan& plan);
std::string plan_json(const CalibrationPlan& plan);

}  // namespace kvcalib
