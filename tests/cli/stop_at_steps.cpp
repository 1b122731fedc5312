// SPDX-License-Identifier: Apache-2.0
// Loaded by LD_PRELOAD: stops the process (SIGSTOP) before every call that changes something below
// the folder KVCALIB_STOP_BELOW, so that a test can look at each state that a kill could leave, let
// it go on (SIGCONT) or kill it there.
#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <csignal>
#include <cstdarg>
#include <cstdlib>
#include <string_view>

#include "tests/cli/interposed_calls.h"

using interposed::next;
using interposed::path_at;
using interposed::path_of;

namespace {

void stop_if_below(std::string_view path) {
  static const char* const kFolder = std::getenv("KVCALIB_STOP_BELOW");
  if (kFolder != nullptr && path.starts_with(kFolder)) ::raise(SIGSTOP);
}

}  // namespace

#define PASS_ON(name, ...) return next(::name, #name)(__VA_ARGS__)

extern "C" {

int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  if ((flags & (O_CREAT | O_TRUNC)) != 0) stop_if_below(path);
  PASS_ON(open, path, flags, mode);
}

ssize_t write(int descriptor, const void* bytes, size_t count) {
  stop_if_below(path_of(descriptor));
  PASS_ON(write, descriptor, bytes, count);
}

ssize_t pwrite(int descriptor, const void* bytes, size_t count, off_t offset) {
  stop_if_below(path_of(descriptor));
  PASS_ON(pwrite, descriptor, bytes, count, offset);
}

int fsync(int descriptor) {
  stop_if_below(path_of(descriptor));
  PASS_ON(fsync, descriptor);
}

int mkdir(const char* path, mode_t mode) noexcept {
  stop_if_below(path);
  PASS_ON(mkdir, path, mode);
}

int symlink(const char* target, const char* path) noexcept {
  stop_if_below(path);
  PASS_ON(symlink, target, path);
}

int link(const char* from, const char* to) noexcept {
  stop_if_below(to);
  PASS_ON(link, from, to);
}

int rename(const char* from, const char* to) noexcept {
  stop_if_below(to);
  PASS_ON(rename, from, to);
}

int renameat2(int from_folder, const char* from, int to_folder, const char* to,
              unsigned flags) noexcept {
  stop_if_below(path_at(to_folder, to));
  PASS_ON(renameat2, from_folder, from, to_folder, to, flags);
}

int unlink(const char* path) noexcept {
  stop_if_below(path);
  PASS_ON(unlink, path);
}

int unlinkat(int folder, const char* name, int flags) noexcept {
  stop_if_below(path_at(folder, name));
  PASS_ON(unlinkat, folder, name, flags);
}

int rmdir(const char* path) noexcept {
  stop_if_below(path);
  PASS_ON(rmdir, path);
}

int remove(const char* path) noexcept {
  stop_if_below(path);
  PASS_ON(remove, path);
}

int chmod(const char* path, mode_t mode) noexcept {
  stop_if_below(path);
  PASS_ON(chmod, path, mode);
}

int chown(const char* path, uid_t owner, gid_t group) noexcept {
  stop_if_below(path);
  PASS_ON(chown, path, owner, group);
}

}  // extern "C"
