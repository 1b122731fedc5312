// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "calibrate/evaluate/measured.h"
#include "calibrate/report/section.h"

namespace kvcalib {

// Recall, and tasks: scores, then margins and labels, then what all rows say together.
std::vector<Section> recall_sections(const Measured& measured);
std::vector<Section> task_sections(const Measured& measured);

}  // namespace kvcalib
