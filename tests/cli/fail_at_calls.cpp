// SPDX-License-Identifier: Apache-2.0
// Loaded by LD_PRELOAD: runs the program again and again, each time letting one system call fail
// that concerns something below the folder KVCALIB_FAULTS_BELOW.
//
// Loading the program's libraries takes longer than a small run, so the process that has loaded
// them only forks: it reads a run a line from stdin, fields separated by tabs,
//
//   CALL NUMBER ERROR STDOUT STDERR ARGUMENT...
//
// where the call of that name and number (from 1; 0 for none) fails with that errno, or, where
// ERROR is "short", reads or writes half of what it was asked for; and answers each on stdout with
//
//   STATUS FAILED NAME=COUNT...
//
// the wait status, whether the call was reached, and how many calls there were of each name.
#include <dirent.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "tests/cli/interposed_calls.h"

using interposed::next;
using interposed::path_at;
using interposed::path_of;

namespace {

using Main = int (*)(int, char**, char**);

constexpr std::array kCalls = {"open",   "read",      "pread",     "write",    "fsync",
                               "rename", "link",      "symlink",   "unlink",   "mkdir",
                               "lstat",  "stat",      "fstat",     "readlink", "flock",
                               "mmap",   "fallocate", "ftruncate", "readdir",  "chmod",
                               "chown",  "access",    "realpath",  "statvfs",  "preadv2"};
constexpr int kShort = -1;

// What a run tells the process that forked it.
struct Told {
  std::array<std::atomic<int64_t>, kCalls.size()> counts;
  std::atomic<int64_t> failed;
};

struct Order {
  std::string call;
  int64_t number = 0;
  int error = 0;
};

Main program = nullptr;
Told* told = nullptr;
Order order;

// The errno that this call fails with, kShort, or 0.
int fault(std::string_view call, std::string_view path) {
  static const char* const kFolder = std::getenv("KVCALIB_FAULTS_BELOW");
  if (told == nullptr || kFolder == nullptr || !path.starts_with(kFolder)) return 0;
  size_t index = 0;
  while (kCalls[index] != call) ++index;
  const int64_t number = ++told->counts[index];
  if (call != order.call || number != order.number) return 0;
  told->failed = 1;
  return order.error;
}

bool fails(std::string_view call, std::string_view path) {
  const int error = fault(call, path);
  if (error > 0) errno = error;
  return error > 0;
}

// How many of `count` bytes are read or written; -1 when it fails.
ssize_t bytes_of(std::string_view call, int descriptor, size_t count) {
  const int error = fault(call, path_of(descriptor));
  if (error > 0) errno = error;
  if (error > 0) return -1;
  return static_cast<ssize_t>(error == kShort ? (count + 1) / 2 : count);
}

std::vector<std::string> fields_of(std::string_view line) {
  std::vector<std::string> fields(1);
  for (const char letter : line) {
    if (letter == '\t')
      fields.emplace_back();
    else if (letter != '\n')
      fields.back() += letter;
  }
  return fields;
}

int run(const std::vector<std::string>& fields, char** environment) {
  order = {fields[0], std::atoll(fields[1].c_str()),
           fields[2] == "short" ? kShort : std::atoi(fields[2].c_str())};
  ::unsetenv("LD_PRELOAD");
  if (std::freopen("/dev/null", "r", stdin) == nullptr ||
      std::freopen(fields[3].c_str(), "w", stdout) == nullptr ||
      std::freopen(fields[4].c_str(), "w", stderr) == nullptr)
    return 99;
  std::vector<std::string> arguments = {"kvcalib"};
  arguments.insert(arguments.end(), fields.begin() + 5, fields.end());
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  return program(static_cast<int>(arguments.size()), pointers.data(), environment);
}

int serve(int /*count*/, char** /*arguments*/, char** environment) {
  char* line = nullptr;
  size_t room = 0;
  while (::getline(&line, &room, stdin) > 0) {
    void* memory = next(::mmap, "mmap")(nullptr, sizeof(Told), PROT_READ | PROT_WRITE,
                                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return 1;
    auto* const shared = static_cast<Told*>(memory);
    const pid_t child = ::fork();
    if (child == 0) {
      told = shared;
      const int exit_code = run(fields_of(line), environment);
      std::fflush(nullptr);
      ::_exit(exit_code);  // what its libraries take down takes longer than a small run
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    std::printf("%d\t%d", status, static_cast<int>(shared->failed));
    for (size_t i = 0; i < kCalls.size(); ++i)
      std::printf("\t%s=%lld", kCalls[i], static_cast<long long>(shared->counts[i]));
    std::printf("\n");
    std::fflush(stdout);
    ::munmap(memory, sizeof(Told));
  }
  return 0;
}

}  // namespace

#define PASS_ON(name, ...) return next(::name, #name)(__VA_ARGS__)

extern "C" {

int __libc_start_main(Main main, int count, char** arguments, void (*init)(), void (*fini)(),
                      void (*loader_fini)(), void* stack_end) {
  program = main;
  const Main first = std::getenv("KVCALIB_FAULTS_BELOW") != nullptr ? serve : main;
  using Start = int(Main, int, char**, void (*)(), void (*)(), void (*)(), void*);
  Start* const start = next(static_cast<Start*>(nullptr), "__libc_start_main");
  return start(first, count, arguments, init, fini, loader_fini, stack_end);
}

int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  if (fails("open", path)) return -1;
  PASS_ON(open, path, flags, mode);
}

int openat(int folder, const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  if (fails("open", path_at(folder, path))) return -1;
  PASS_ON(openat, folder, path, flags, mode);
}

FILE* fopen(const char* path, const char* mode) {
  if (fails("open", path)) return nullptr;
  PASS_ON(fopen, path, mode);
}

FILE* fopen64(const char* path, const char* mode) {
  if (fails("open", path)) return nullptr;
  PASS_ON(fopen64, path, mode);
}

ssize_t read(int descriptor, void* bytes, size_t count) {
  const ssize_t most = bytes_of("read", descriptor, count);
  if (most < 0) return -1;
  PASS_ON(read, descriptor, bytes, static_cast<size_t>(most));
}

ssize_t pread(int descriptor, void* bytes, size_t count, off_t offset) {
  const ssize_t most = bytes_of("pread", descriptor, count);
  if (most < 0) return -1;
  PASS_ON(pread, descriptor, bytes, static_cast<size_t>(most), offset);
}

ssize_t preadv2(int descriptor, const iovec* pieces, int count, off_t offset, int flags) {
  if (fails("preadv2", path_of(descriptor))) return -1;
  PASS_ON(preadv2, descriptor, pieces, count, offset, flags);
}

ssize_t write(int descriptor, const void* bytes, size_t count) {
  const ssize_t most = bytes_of("write", descriptor, count);
  if (most < 0) return -1;
  PASS_ON(write, descriptor, bytes, static_cast<size_t>(most));
}

ssize_t pwrite(int descriptor, const void* bytes, size_t count, off_t offset) {
  const ssize_t most = bytes_of("write", descriptor, count);
  if (most < 0) return -1;
  PASS_ON(pwrite, descriptor, bytes, static_cast<size_t>(most), offset);
}

int fsync(int descriptor) {
  if (fails("fsync", path_of(descriptor))) return -1;
  PASS_ON(fsync, descriptor);
}

int rename(const char* from, const char* to) noexcept {
  if (fails("rename", to)) return -1;
  PASS_ON(rename, from, to);
}

int renameat2(int from_folder, const char* from, int to_folder, const char* to,
              unsigned flags) noexcept {
  if (fails("rename", path_at(to_folder, to))) return -1;
  PASS_ON(renameat2, from_folder, from, to_folder, to, flags);
}

int link(const char* from, const char* to) noexcept {
  if (fails("link", to)) return -1;
  PASS_ON(link, from, to);
}

int symlink(const char* target, const char* path) noexcept {
  if (fails("symlink", path)) return -1;
  PASS_ON(symlink, target, path);
}

int unlink(const char* path) noexcept {
  if (fails("unlink", path)) return -1;
  PASS_ON(unlink, path);
}

int unlinkat(int folder, const char* name, int flags) noexcept {
  if (fails("unlink", path_at(folder, name))) return -1;
  PASS_ON(unlinkat, folder, name, flags);
}

int rmdir(const char* path) noexcept {
  if (fails("unlink", path)) return -1;
  PASS_ON(rmdir, path);
}

int remove(const char* path) noexcept {
  if (fails("unlink", path)) return -1;
  PASS_ON(remove, path);
}

int mkdir(const char* path, mode_t mode) noexcept {
  if (fails("mkdir", path)) return -1;
  PASS_ON(mkdir, path, mode);
}

int lstat(const char* path, struct stat* status) noexcept {
  if (fails("lstat", path)) return -1;
  PASS_ON(lstat, path, status);
}

int stat(const char* path, struct stat* status) noexcept {
  if (fails("stat", path)) return -1;
  PASS_ON(stat, path, status);
}

int fstat(int descriptor, struct stat* status) noexcept {
  if (fails("fstat", path_of(descriptor))) return -1;
  PASS_ON(fstat, descriptor, status);
}

int fstat64(int descriptor, struct stat64* status) noexcept {
  if (fails("fstat", path_of(descriptor))) return -1;
  PASS_ON(fstat64, descriptor, status);
}

ssize_t readlink(const char* path, char* target, size_t room) noexcept {
  if (fails("readlink", path)) return -1;
  PASS_ON(readlink, path, target, room);
}

int flock(int descriptor, int operation) noexcept {
  if (fails("flock", path_of(descriptor))) return -1;
  PASS_ON(flock, descriptor, operation);
}

void* mmap(void* place, size_t bytes, int protection, int flags, int descriptor,
           off_t offset) noexcept {
  if (descriptor >= 0 && fails("mmap", path_of(descriptor))) return MAP_FAILED;
  PASS_ON(mmap, place, bytes, protection, flags, descriptor, offset);
}

int fallocate(int descriptor, int mode, off_t offset, off_t bytes) {
  if (fails("fallocate", path_of(descriptor))) return -1;
  PASS_ON(fallocate, descriptor, mode, offset, bytes);
}

int posix_fallocate(int descriptor, off_t offset, off_t bytes) {
  if (fails("fallocate", path_of(descriptor))) return errno;
  PASS_ON(posix_fallocate, descriptor, offset, bytes);
}

int ftruncate(int descriptor, off_t bytes) noexcept {
  if (fails("ftruncate", path_of(descriptor))) return -1;
  PASS_ON(ftruncate, descriptor, bytes);
}

struct dirent* readdir(DIR* folder) {
  if (fails("readdir", path_of(::dirfd(folder)))) return nullptr;
  PASS_ON(readdir, folder);
}

int chmod(const char* path, mode_t mode) noexcept {
  if (fails("chmod", path)) return -1;
  PASS_ON(chmod, path, mode);
}

int chown(const char* path, uid_t owner, gid_t group) noexcept {
  if (fails("chown", path)) return -1;
  PASS_ON(chown, path, owner, group);
}

int access(const char* path, int mode) noexcept {
  if (fails("access", path)) return -1;
  PASS_ON(access, path, mode);
}

char* realpath(const char* path, char* resolved) noexcept {
  if (fails("realpath", path)) return nullptr;
  PASS_ON(realpath, path, resolved);
}

int statvfs(const char* path, struct statvfs* system) noexcept {
  if (fails("statvfs", path)) return -1;
  PASS_ON(statvfs, path, system);
}

}  // extern "C"
