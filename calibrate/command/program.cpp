// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/program.h"

#include <cstdlib>
#include <iostream>
#include <system_error>

#include "calibrate/delivery/program_version.h"
#include "calibrate/report/standard_output.h"
#include "sharding/files/error.h"
#include "sharding/files/leave_by_signal.h"

namespace kvcalib {
namespace {

int run_named(const std::vector<std::string>& arguments, const CommandRunner& run) {
  const std::string name = arguments.empty() ? "--help" : arguments.front();
  if (name == "--version") {
    print(concat("kvcalib ", program_version(), "\n"));
    return 0;
  }
  try {
    if (name == "--help" || name == "-h" || name == "help") throw HelpAsked{program_help()};
    return run(find_command(name), arguments);
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

const std::string kNoThread =
    "a thread cannot be started: out of memory, or a limit on processes (ulimit -u, -v) is reached";

int guarded(const std::vector<std::string>& arguments, const CommandRunner& run) {
  try {
    check_standard_streams();
    return run_named(arguments, run);
  } catch (const UsageError& failure) {
    return fail(failure.what(), 2);
  } catch (const Error& failure) {
    return fail(failure.what(), 1);
  } catch (const std::bad_alloc&) {
    return fail(kOutOfMemory, 1);
  } catch (const std::system_error& failure) {
    const bool no_thread = failure.code() == std::errc::resource_unavailable_try_again;
    return fail(no_thread ? kNoThread : failure.what(), 1);
  } catch (const std::exception& failure) {
    return fail(failure.what(), 1);
  }
}

}  // namespace

int run_program(int argc, char** argv, const CommandRunner& run) {
  ignore_signals_of_writing();
  const int exit_code = guarded({argv + 1, argv + argc}, run);
  wait_if_leaving();
  return exit_code;
}

}  // namespace kvcalib
