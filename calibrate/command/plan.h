// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "calibrate/command/devices.h"
#include "calibrate/command/options.h"
#include "calibrate/data/windows.h"
#include "calibrate/delivery/target.h"
#include "calibrate/engine/calibration_pass.h"

namespace kvcalib {

// What --dry-run tells: the resolved settings, bytes to read, memory per device, files to write.
struct CalibrationPlan {
  ModelConfig config;
  Target target;
  DeviceList devices;
  WindowRequest windows;
  int64_t micro_batch_windows = 1;
  uint64_t bytes_to_read = 0;  // all ranks together: every layer once
  MemoryPlan memory;           // per device
};

// `layer_bytes`: stored_layer_bytes of the directory or the shape.
CalibrationPlan make_plan(const CalibrateOptions& options, const WindowRequest& windows,
                          const ModelConfig& config, uint64_t layer_bytes, const Target& target,
                          const DeviceList& devices, int64_t ranks);

std::string format_plan(const CalibrationPlan& plan, const CalibrateOptions& options);
std::string plan_json(const CalibrationPlan& plan);

}  // namespace kvcalib
