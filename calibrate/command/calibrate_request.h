// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "calibrate/command/options.h"
#include "calibrate/command/rank_run.h"
#include "calibrate/data/windows.h"
#include "calibrate/engine/calibration_pass.h"

namespace kvcalib {

// The windows asked for of these files; what is not said is as a file of token ids has it, or the
// default.  Throws Error when they are too many.
WindowRequest resolve_windows(const CalibrateOptions& options,
                              const std::vector<std::filesystem::path>& files);

// One rank's pass.  Directory and run outlive it.  Throws Error when a GPU has no room for it.
std::unique_ptr<CalibrationPass> start_pass(const WeightDirectory& directory,
                                            const PassWindows& windows, const RankRun& run);

// Where the results go, in words.
std::string place_of(const OutputOptions& output);

}  // namespace kvcalib
