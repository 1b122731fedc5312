// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/trace_file.h"

#include <unistd.h>

#include <mutex>
#include <span>

#include "calibrate/output/file_operations.h"
#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"
#include "sharding/files/leave_by_signal.h"
#include "sharding/files/ranged_file.h"
#include "sharding/streaming/trace.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

fs::path parent_of(const fs::path& file) {
  return file.has_parent_path() ? file.parent_path() : fs::path(".");
}

bool is_trace(const fs::path& file) {
  const RangedFile found(file);
  std::string begin(kChromeTraceBegin.size(), '\0');
  found.read_some(0, std::as_writable_bytes(std::span(begin)));
  return found.bytes() == 0 || begin == kChromeTraceBegin;
}

// A file that is something else is not replaced by a trace, be it weights, data or a result.
void check_replaced(const fs::path& file) {
  if (!is_there(file)) return;
  if (!is_plain_file(file))
    throw Error(concat("--trace ", file.string(), ": is no file; name one, or a new name"));
  if (!is_trace(file))
    throw Error(concat("--trace ", file.string(), ": is there already and holds no trace, which ",
                       "not even --force replaces; name another file"));
}

}  // namespace

void check_beside_weights(const char* option, const fs::path& path, const fs::path& weights) {
  if (path.empty() || kind_behind(weights) != FileKind::kDirectory || !is_within(path, weights))
    return;
  throw Error(concat(option, " ", path.string(), ": lies in the weights directory, where nothing ",
                     "but its files and their scales belongs; name another place"));
}

void check_trace_place(const fs::path& file, const fs::path& weights,
                       const std::optional<fs::path>& output, bool force) {
  if (!file.has_filename()) throw Error(concat("--trace '", file.string(), "': names no file"));
  const fs::path parent = parent_of(file);
  if (access(parent.c_str(), W_OK | X_OK) != 0) throw_system_error(parent, "--trace cannot write");
  check_replaced(file);
  check_beside_weights("--trace", file, weights);
  if (output && !output->empty() && is_within(file, *output))
    throw Error(concat("--trace ", file.string(), ": is where --output ", output->string(),
                       " goes, which is replaced as a whole; name another place"));
  if (is_there(file) && !force)
    throw Error(concat("--trace ", file.string(), ": is there already; --force replaces it"));
}

void write_trace(const fs::path& file, const std::vector<std::string>& events) {
  fs::path temporary = file;
  temporary += concat(".", getpid());
  std::mutex writing;
  const auto take_back = [&] { unlink(temporary.c_str()); };
  const BeforeLeaving leaving([&](int) {
    const std::lock_guard lock(writing);
    take_back();
    return "";
  });
  std::unique_lock lock(writing);
  write_new_file(temporary, chrome_trace(events, Trace::microseconds_at_start()));
  try {
    check_replaced(file);
    if (leaving_signal() == 0) rename_path(temporary, file);
  } catch (const Error&) {
    take_back();
    throw;
  }
  lock.unlock();
  wait_if_leaving();
}

}  // namespace kvcalib
