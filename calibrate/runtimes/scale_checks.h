// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "calibrate/runtimes/layer_scales.h"
#include "calibrate/runtimes/runtime.h"

namespace kvcalib {

// What speaks against scales that were read back from `file`, added to `report`: that one is not
// positive and finite, or that all are 1.
void check_values(const std::string& file, const ScaleTable& found, VerifyReport& report);

// And that they are not those that statistics give: the reciprocals of them, K's in the place of
// V's, channels of K in pairs (where `head_dim` is given), layers in another's place, or others.
void compare_scales(const std::string& file, const ScaleTable& found, const ScaleTable& expected,
                    VerifyReport& report, int64_t head_dim = 0);

}  // namespace kvcalib
