// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <string>
#include <vector>

#include "calibrate/command/devices.h"
#include "sharding/ranks/rank.h"

namespace kvcalib {

// What a command does on its ranks; both return the exit code.
struct RankedWork {
  std::function<int(const Rank&, const c10::Device&)> first, further;
  // Takes back what a rank that was killed had begun to write.
  std::function<void()> clear_leftovers;
};

// One rank's part of a command, or, where this process is to start the ranks, all of them with
// `arguments`, the program's own.  Returns the exit code.  Throws UsageError when more ranks were
// started here than there are devices, and what the work throws.
int run_on_ranks(const Rank& rank, const DeviceList& devices,
                 const std::vector<std::string>& arguments, const RankedWork& work);

}  // namespace kvcalib
