// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "calibrate/evaluate/measured.h"
#include "calibrate/report/section.h"

namespace kvcalib {

// Text: llama.cpp's figures under its names and in its order, then by position.  Nothing without.
std::vector<Section> text_sections(const Measured& measured);

// Copying by distance.
std::vector<Section> copy_sections(const Measured& measured);

}  // namespace kvcalib
