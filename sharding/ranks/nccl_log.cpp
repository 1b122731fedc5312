// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/nccl_log.h"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

int log_file = -1;  // in memory, open until the process ends

}  // namespace

void prepare_nccl() {
  setenv("NCCL_NVLS_ENABLE", "0", 1);
  if (getenv("NCCL_DEBUG") != nullptr || getenv("NCCL_DEBUG_FILE") != nullptr) return;
  log_file = memfd_create("nccl-log", MFD_CLOEXEC);
  if (log_file < 0) return;
  setenv("NCCL_DEBUG", "INFO", 1);
  setenv("NCCL_DEBUG_SUBSYS", "INIT,GRAPH", 1);
  setenv("NCCL_DEBUG_FILE", concat("/proc/self/fd/", log_file).c_str(), 1);
}

std::string nccl_log() {
  std::string text;
  if (log_file < 0) return text;
  std::array<char, 4096> piece{};
  for (ssize_t count = 0;
       (count = pread(log_file, piece.data(), piece.size(), static_cast<off_t>(text.size()))) > 0;)
    text.append(piece.data(), static_cast<size_t>(count));
  return text;
}

}  // namespace kvcalib
