// SPDX-License-Identifier: Apache-2.0
#include <c10/util/Exception.h>

#include <cstdlib>
#include <iostream>

#include "calibrate/command/commands.h"
#include "calibrate/command/out_of_memory.h"
#include "calibrate/delivery/program_version.h"
#include "calibrate/report/standard_output.h"
#include "sharding/files/error.h"
#include "sharding/files/leave_by_signal.h"
#include "sharding/ranks/launched_process.h"
#include "sharding/ranks/peer_watch.h"

namespace kvcalib {
namespace {

int run(const std::vector<std::string>& arguments) {
  const std::string name = arguments.empty() ? "--help" : arguments.front();
  if (name == "--version") {
    print(concat("kvcalib ", program_version(), "\n"));
    return 0;
  }
  try {
    if (name == "--help" || name == "-h" || name == "help") throw HelpAsked{program_help()};
    const Command& command = find_command(name);
    return command.run(command, arguments);
  } catch (const HelpAsked& help) {
    print(help.text);
    return 0;
  }
}

// "rank 3: " in a run of several.
std::string rank_prefix() {
  const char* world = std::getenv("WORLD_SIZE");
  const char* rank = std::getenv("RANK");
  if (world == nullptr || rank == nullptr || std::string(world) == "1") return "";
  return concat("rank ", rank, ": ");
}

int fail(const std::string& message, int exit_code) {
  wait_if_leaving();
  std::cerr << "kvcalib: " << rank_prefix() << "error: " << message << std::endl;
  return exit_code;
}

const std::string kOutOfMemory =
    "out of memory; use a smaller --micro-batch, fewer --samples or more --devices (--dry-run "
    "tells what a run needs)";

int guarded(const std::vector<std::string>& arguments) {
  try {
    check_standard_streams();
    return run(arguments);
  } catch (const UsageError& failure) {
    return fail(failure.what(), 2);
  } catch (const Error& failure) {
    return fail(failure.what(), 1);
  } catch (const PeerLost& failure) {
    if (was_launched_here()) return kPeerLostExitCode;
    return fail(failure.what(), 1);
  } catch (const c10::Error& failure) {
    const std::string text = failure.what_without_backtrace();
    return fail(is_out_of_memory(failure) ? kOutOfMemory + (": " + text) : text, 1);
  } catch (const std::bad_alloc&) {
    return fail(kOutOfMemory, 1);
  } catch (const std::exception& failure) {
    return fail(failure.what(), 1);
  }
}

}  // namespace
}  // namespace kvcalib

int main(int argc, char** argv) {
  kvcalib::ignore_signals_of_writing();
  kvcalib::follow_launcher();
  kvcalib::throw_out_of_memory_on_cpu();
  const int exit_code = kvcalib::guarded({argv + 1, argv + argc});
  kvcalib::wait_if_leaving();
  return exit_code;
}
