// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/standard_output.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "sharding/files/error.h"

namespace kvcalib {

void check_standard_streams() {
  bool is_stdout_closed = false;
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(descriptor, F_GETFD) >= 0) continue;
    // The lowest free descriptor is this one.  What is written to a stdout like that fails.
    ::open("/dev/null", descriptor == STDERR_FILENO ? O_WRONLY : O_RDONLY);
    is_stdout_closed = is_stdout_closed || descriptor == STDOUT_FILENO;
  }
  if (is_stdout_closed) throw Error("stdout: is closed, and results go there; name a file for it");
}

void print(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EAGAIN) {  // a terminal that another program made non-blocking
      pollfd room{STDOUT_FILENO, POLLOUT, 0};
      ::poll(&room, 1, -1);
    } else if (errno != EINTR) {
      throw Error(concat("stdout: cannot be written: ", std::strerror(errno)));
    }
  }
}

}  // namespace kvcalib
