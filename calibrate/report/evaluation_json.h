// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "calibrate/report/evaluation.h"

namespace kvcalib {

// For machines.  Scores, same_top_p, delta_p and clipped are in percent, divergences in nats; the
// errors of layers are shares.  What is unknown or not finite is null.
std::string evaluation_json(const Evaluation& evaluation);

}  // namespace kvcalib
