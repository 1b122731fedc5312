// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "calibrate/report/evaluation.h"

namespace kvcalib {

// For a terminal, in at most 120 columns but where names and sentences are longer.  Of large models
// the layers with the largest errors alone.
std::string format_evaluation(const Evaluation& evaluation);

// The same sections as Markdown, with all layers.
std::string evaluation_markdown(const Evaluation& evaluation);

}  // namespace kvcalib
