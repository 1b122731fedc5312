// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "sharding/files/error.h"

namespace kvcalib {

// Where ranks meet that one process starts: a file in memory that they inherit, as long as this
// lives.  Unlike a port it is nobody else's to connect to, and asks no resolver for names.
class LocalStore {
 public:
  // Names the file to the ranks.
  static constexpr const char* kVariable = "KVCALIB_STORE";

  // Throws Error when there is no memory for it.
  LocalStore() : file_(memfd_create("kvcalib-ranks", 0)) {
    if (file_ < 0) throw Error(concat("a file in memory for the ranks: ", std::strerror(errno)));
  }
  ~LocalStore() { close(file_); }
  LocalStore(const LocalStore&) = delete;
  LocalStore& operator=(const LocalStore&) = delete;

  // Whether no rank has met there yet.
  bool is_empty() const;
  // The value that a rank has set, as c10d's FileStore writes it (2.11: for each pair the length
  // and the bytes of "/" and the key, then of the value).  Unlike that takes no lock, which a
  // stopped rank may hold, and is not confused by what a killed one has written by half.
  std::optional<std::string> value_of(std::string_view key) const;

  std::string path() const { return concat("/proc/self/fd/", file_); }

 private:
  int file_;
};

}  // namespace kvcalib
