// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/launched_process.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

namespace kvcalib {

bool was_launched_here() { return std::getenv(kLauncherVariable) != nullptr; }

void follow_launcher() {
  const char* launcher = std::getenv(kLauncherVariable);
  if (launcher == nullptr) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (std::to_string(getppid()) != launcher) std::_Exit(kPeerLostExitCode);
}

}  // namespace kvcalib
