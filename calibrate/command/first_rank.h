// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Device.h>

#include "calibrate/command/devices.h"
#include "calibrate/command/options.h"
#include "sharding/ranks/rank.h"

namespace kvcalib {

// The rank that prepares, reports and delivers; the only one in a run of one.  Returns the exit
// code.  Throws Error for what the user can mend, PeerLost when another rank is lost.
int run_first_rank(const CalibrateOptions& options, const Rank& rank, const DeviceList& devices,
                   const c10::Device& device);

}  // namespace kvcalib
