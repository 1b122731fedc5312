// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "calibrate/data/windows.h"
#include "sharding/ranks/rendezvous.h"

namespace kvcalib {

// From the first rank to the others: the windows' shape, once all is checked, then their ids.
void send_shape(Rendezvous& rendezvous, const WindowShape& shape);
WindowShape receive_shape(Rendezvous& rendezvous);
void send_ids(Rendezvous& rendezvous, std::span<const int32_t> ids);
std::vector<int32_t> receive_ids(Rendezvous& rendezvous);

// From the others to the first rank, at the end: the events of their traces.
void send_trace(Rendezvous& rendezvous, int64_t rank, const std::string& events);
std::string receive_trace(Rendezvous& rendezvous, int64_t rank);

}  // namespace kvcalib
