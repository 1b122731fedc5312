// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "calibrate/evaluate/measured.h"
#include "calibrate/report/section.h"

namespace kvcalib {

// For each profiled stream: clipping, unused codes and errors by layer and rank, and what stands
// out.  Of more than `most_rows`, a quarter of them: those with the largest errors.
std::vector<Section> layer_sections(const Measured& measured, size_t most_rows);

}  // namespace kvcalib
