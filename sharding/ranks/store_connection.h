// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/util/intrusive_ptr.h>

#include <chrono>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "sharding/ranks/rank.h"

namespace kvcalib {

// A connection to the store where the ranks meet; `serve`: which this rank serves itself.  All
// attempts together take until `deadline` at most.  Throws Error naming the place and what stands
// in the way.  `waiting_line`: told on stderr when no
// connection has come about in a moment (Heartbeats::kPatience).
c10::intrusive_ptr<c10d::Store> connect_store(const MeetingPlace& place, bool serve,
                                              std::chrono::steady_clock::time_point deadline,
                                              const std::string& waiting_line = {});

}  // namespace kvcalib
