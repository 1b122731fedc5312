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

// To be called first in a process that launch_ranks started (no effect in others): ties its life to
// the launcher's.
void follow_launcher();

// Whether launch_ranks started this process.
bool was_launched_here();

// Exit code of a rank that stopped because another did: its message is not the one to read.
inline constexpr int kPeerLostExitCode = 75;

}  // namespace kvcalib
