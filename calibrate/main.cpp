// SPDX-License-Identifier: Apache-2.0
// kvcalib: what computes nothing is done here; for the rest this becomes kvcalib-compute.
#include "calibrate/command/compute_program.h"
#include "calibrate/command/program.h"

namespace kvcalib {
namespace {

int run(const Command& command, const std::vector<std::string>& arguments) {
  if (const std::optional<int> exit_code = run_quickly(command, arguments)) return *exit_code;
  become_compute_program(arguments);
}

}  // namespace
}  // namespace kvcalib

int main(int argc, char** argv) { return kvcalib::run_program(argc, argv, kvcalib::run); }
