// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kvcalib {

// Starts this program again `ranks` times with `arguments` (argv without the program's name), RANK,
// LOCAL_RANK, WORLD_SIZE and LOCAL_WORLD_SIZE as torchrun sets them and a LocalStore to meet at,
// and waits.  When a rank fails, the others are stopped within seconds.  Returns the exit code of
// the run: 0 when every rank returned 0, else that of the rank that failed first; a rank killed by
// a signal is reported on stderr by its number.  The ranks die with this process.
int launch_ranks(int64_t ranks, const std::vector<std::string>& arguments);

}  // namespace kvcalib
