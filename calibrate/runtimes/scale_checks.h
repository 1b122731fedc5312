// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "calibrate/runtimes/layer_scales.h"
#include "calibrate/runtimes/runtime.h"
#include "calibrate/statistics/scale_method.h"

namespace kvcalib {

// Adds what is wrong in `file`, all of one kind: the first of these and how many more there are.
void add_faults(const std::string& file, const std::vector<std::string>& faults,
                VerifyReport& report);

// What speaks against scales that were read back from `file`, added to `report`: that one is not
// positive and finite, that a layer's are no larger than `floor`, which a scale has where nothing
// was measured, or that all of K or of V are 1.
void check_values(const std::string& file, const ScaleTable& found, VerifyReport& report,
                  float floor = kSmallestScale);

// And that they are not those that statistics give: the reciprocals of them, K's in the place of
// V's, channels of K in pairs (where `head_dim` is given), layers in another's place, or others.
void compare_scales(const std::string& file, const ScaleTable& found, const ScaleTable& expected,
                    VerifyReport& report, int64_t head_dim = 0);

}  // namespace kvcalib
