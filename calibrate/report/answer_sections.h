// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "calibrate/evaluate/measured.h"
#include "calibrate/report/section.h"

namespace kvcalib {

// Of the tasks whose answers are generated: how many texts are the same as the first stream's, and
// some that part from it.
std::vector<Section> answer_sections(const Measured& measured);

}  // namespace kvcalib
