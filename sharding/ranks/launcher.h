// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kvcalib {

// Starts this program again `ranks` times with `arguments` (argv without the program's name), RANK,
// LOCAL_RANK, WORLD_SIZE and LOCAL_WORLD_SIZE as torchrun sets them and a LocalStore to meet at,
// and waits.  When a rank fails, is stopped or does not come up, the others are stopped within
// seconds, as are those that have not ended a while after rank 0 has, and rank 0 itself a while
// after all is done.  Returns the exit code of the
// run: 0 when rank 0 returned 0, else that of the rank that failed first; a rank killed by a signal
// or lost is reported on stderr by its number.  INT, TERM, HUP and QUIT are passed on to the ranks.
// The ranks die with this process.
int launch_ranks(int64_t ranks, const std::vector<std::string>& arguments);

}  // namespace kvcalib
