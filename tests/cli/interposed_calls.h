// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <string>

namespace interposed {

// The path of an open file.
inline std::string path_of(int descriptor) {
  std::string path(4096, '\0');
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  const ssize_t length = ::readlink(link.c_str(), path.data(), path.size());
  path.resize(length > 0 ? static_cast<size_t>(length) : 0);
  return path;
}

inline std::string path_at(int folder, const char* name) {
  return folder == AT_FDCWD || *name == '/' ? name : path_of(folder) + "/" + name;
}

// The function that would have been called without the library that is loaded before all others.
template <typename Function>
Function* next(Function* /*type*/, const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace interposed
