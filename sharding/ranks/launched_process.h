// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace kvcalib {

// What a process and the launcher that started it know of each other.

// Names the launcher's process to the ranks that it starts.
inline constexpr const char* kLauncherVariable = "KVCALIB_LAUNCHER_PID";

// Exit code of a rank that stopped because another did: its message is not the one to read.
inline constexpr int kPeerLostExitCode = 75;

// To be called first in a process that launch_ranks started (no effect in others): ties its life to
// the launcher's.
void follow_launcher();

// Whether launch_ranks started this process.
bool was_launched_here();

}  // namespace kvcalib
