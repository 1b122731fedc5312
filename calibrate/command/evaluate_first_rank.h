// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Device.h>

#include "calibrate/command/options.h"
#include "sharding/ranks/rank.h"

namespace kvcalib {

// The rank that prepares, gathers and reports; the only one in a run of one.  Returns the exit
// code: 1 when a gate is not kept.  Throws Error for what the user can mend, PeerLost when another
// rank is lost.
int run_evaluate_first_rank(const EvaluateOptions& options, const Rank& rank,
                            const c10::Device& device);

}  // namespace kvcalib
