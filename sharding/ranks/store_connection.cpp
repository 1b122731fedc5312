// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/store_connection.h"

#include <c10/util/Exception.h>
#include <c10/util/Logging.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <future>
#include <iostream>
#include <string>
#include <torch/csrc/distributed/c10d/FileStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "sharding/files/error.h"
#include "sharding/ranks/heartbeats.h"
#include "sharding/ranks/left_behind.h"

namespace kvcalib {
namespace {

using StorePointer = c10::intrusive_ptr<c10d::Store>;

constexpr std::chrono::hours kLongerThanAnyDeadline{1};
constexpr int kErrorsOnly = 2;  // of c10's levels of logging
constexpr int kProbeMilliseconds = 1000;

// Why no connection to this address comes about; empty when one does.
std::string refusal_of(const addrinfo& address) {
  const int descriptor = socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return std::strerror(errno);
  int failure = connect(descriptor, address.ai_addr, address.ai_addrlen) == 0 ? 0 : errno;
  pollfd ready{descriptor, POLLOUT, 0};
  if (failure == EINPROGRESS) {
    socklen_t size = sizeof(failure);
    if (poll(&ready, 1, kProbeMilliseconds) <= 0)
      failure = ETIMEDOUT;
    else
      getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &failure, &size);
  }
  close(descriptor);
  return failure == 0 ? "" : std::strerror(failure);
}

// What is in the way of meeting there, as far as it can be seen from outside.
std::string obstacle(const MeetingPlace& place) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failure =
      getaddrinfo(place.address.c_str(), std::to_string(place.port).c_str(), &wanted, &found);
  if (failure != 0) return concat("the name is not known: ", gai_strerror(failure));
  std::string reason;
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    reason = refusal_of(*address);
    if (reason.empty()) break;
  }
  freeaddrinfo(found);
  return reason.empty() ? "what listens there does not answer as a rank 0 does" : reason;
}

[[noreturn]] void fail(const MeetingPlace& place, const std::string& reason) {
  throw Error(concat("cannot meet the other ranks at MASTER_ADDR:MASTER_PORT ", place.address, ":",
                     place.port, ": ", reason));
}

}  // namespace

// A store of c10d bounds each of its attempts for itself and logs each failure with a stack; one
// that hears nothing waits for ever.  So it is made by a thread that is left behind at the
// deadline.
StorePointer connect_store(const MeetingPlace& place, bool serve,
                           std::chrono::steady_clock::time_point deadline,
                           const std::string& waiting_line) {
  if (!place.file.empty()) return c10::make_intrusive<c10d::FileStore>(place.file, -1);
  FLAGS_caffe2_log_level = kErrorsOnly;
  c10d::TCPStoreOptions options;
  options.port = place.port;
  options.isServer = serve;
  options.waitWorkers = false;
  options.timeout = kLongerThanAnyDeadline;
  std::future<StorePointer> connected =
      start_apart<StorePointer>([address = place.address, options] {
        return StorePointer(c10::make_intrusive<c10d::TCPStore>(address, options));
      });
  try {
    if (!waiting_line.empty() &&
        connected.wait_for(Heartbeats::kPatience) != std::future_status::ready)
      std::cerr << concat(waiting_line, "\n") << std::flush;
    if (has_ended_by(deadline, connected)) return connected.get();
  } catch (const c10::Error& failure) {
    fail(place, failure.what_without_backtrace());
  }
  fail(place, concat("waited for as long as ranks may take to join; ", obstacle(place)));
}

}  // namespace kvcalib
