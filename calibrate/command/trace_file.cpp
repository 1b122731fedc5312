// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/trace_file.h"

#include <unistd.h>

#include "calibrate/output/file_operations.h"
#include "sharding/files/error.h"
#include "sharding/streaming/trace.h"

namespace kvcalib {

void check_trace_place(const std::filesystem::path& file, bool force) {
  if (!file.has_filename()) throw Error(concat("--trace '", file.string(), "': names no file"));
  const std::filesystem::path parent = file.has_parent_path() ? file.parent_path() : ".";
  if (access(parent.c_str(), W_OK | X_OK) != 0) throw_system_error(parent, "--trace cannot write");
  if (!is_there(file)) return;
  if (!is_plain_file(file))
    throw Error(concat("--trace ", file.string(), ": is no file; name one, or a new name"));
  if (!force)
    throw Error(concat("--trace ", file.string(), ": is there already; --force replaces it"));
}

void write_trace(const std::filesystem::path& file, const std::vector<std::string>& events) {
  std::filesystem::path temporary = file;
  temporary += concat(".", getpid());
  write_new_file(temporary, chrome_trace(events, Trace::microseconds_at_start()));
  rename_path(temporary, file);
}

}  // namespace kvcalib
