// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// Tells one model from another in milliseconds, however it is cut: SHA-256 over the shape, the
// type, every layer's norm vectors and a corner of its v, output, gate, up and down matrices ([in,
// out], whole-tensor coordinates; none of these is permuted between formats).  The same for every
// number of stored ranks.  Throws Error when a file cannot be read.
std::string weights_fingerprint(const WeightDirectory& directory);

}  // namespace kvcalib
