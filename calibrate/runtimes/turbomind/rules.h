// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "calibrate/runtimes/runtime.h"
#include "calibrate/runtimes/turbomind/releases.h"

namespace kvcalib {

// What a release would misread of weights that lie before it: in terms of config.ini.
RuntimeFindings findings_in_config(const ServedModel& model, const TurboMindRelease& release);

// Beyond that, how it will treat K and V otherwise than a calibration of the model does.
std::vector<std::string> calibration_warnings(const ServedModel& model,
                                              const TurboMindRelease& release);

// Why it could not serve a model as that means it, once the weights are cut for `ranks`: a sentence
// each with the way out.
std::vector<std::string> deploy_faults(const ModelConfig& model, const TurboMindRelease& release,
                                       int64_t ranks);

// How to start that release so that it obeys quant_policy of config.ini; empty where any way does.
std::string serving_note(const TurboMindRelease& release);

}  // namespace kvcalib
