// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/compute_program.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

constexpr const char* kName = "kvcalib-compute";

fs::path find_program() {
  const fs::path own = fs::read_symlink("/proc/self/exe").parent_path();
  for (const fs::path& place : {own / kName, own / KVCALIB_LIBEXEC_FROM_BIN / kName})
    if (fs::exists(place)) return place;
  throw Error(concat(own.string(), ": has no ", kName, " beside kvcalib, nor in ",
                     KVCALIB_LIBEXEC_FROM_BIN, ", which all but export, verify and inspect need; ",
                     "build or install both"));
}

}  // namespace

void become_compute_program(const std::vector<std::string>& arguments) {
  const std::string path = find_program().string();
  std::vector<std::string> all{path};
  all.insert(all.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& argument : all) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  execv(path.c_str(), pointers.data());
  throw Error(concat(path, ": cannot be started: ", std::strerror(errno),
                     "; build or install kvcalib again"));
}

}  // namespace kvcalib
