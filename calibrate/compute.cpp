// SPDX-License-Identifier: Apache-2.0
// kvcalib-compute: the program whole. kvcalib starts it for what needs PyTorch, which takes longer
// to load than all that the other commands do.
#include <c10/util/Exception.h>

#include "calibrate/command/out_of_memory.h"
#include "calibrate/command/program.h"
#include "sharding/files/error.h"
#include "sharding/ranks/launched_process.h"
#include "sharding/ranks/peer_watch.h"

namespace kvcalib {
namespace {

int run(const Command& command, const std::vector<std::string>& arguments) {
  try {
    return run_command(command, arguments);
  } catch (const PeerLost& failure) {
    if (was_launched_here()) return kPeerLostExitCode;
    throw Error(failure.what());
  } catch (const c10::Error& failure) {
    const std::string text = failure.what_without_backtrace();
    throw Error(is_out_of_memory(failure) ? concat(kOutOfMemory, ": ", text) : text);
  }
}

}  // namespace
}  // namespace kvcalib

int main(int argc, char** argv) {
  kvcalib::follow_launcher();
  kvcalib::throw_out_of_memory_on_cpu();
  return kvcalib::run_program(argc, argv, kvcalib::run);
}
