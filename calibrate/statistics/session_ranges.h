// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

#include "calibrate/statistics/kv_statistics.h"
#include "calibrate/statistics/statistics_file.h"
#include "sharding/formats/rotation.h"

namespace kvcalib {

// What windows of some tokens say about sessions that are longer.  K's rotary pairs go on turning:
// one that turns slowly comes to places where no window has seen it.
//
// The ranges with those of K widened to what its reach becomes at any position below
// `session_length`, rotated so; not rounded.  For pair j, turned by at most steps = ceil(angle of
// the last position / (2 pi / 32)) of the 32 directions, at most 31, and h(i) = max of reach[(i -
// s) mod 32] over s = 0 .. steps:
//   channel 2j      maximum = max(maximum, h(0))   minimum = min(minimum, -h(16))
//   channel 2j + 1  maximum = max(maximum, h(8))   minimum = min(minimum, -h(24))
// A pair that turned all around within a window has shown what it does at any position, and is left
// as it is; so are all where the windows were as long, or the reach is not known.  With
// window_length = 0 every pair is turned.
KvStatistics ranges_of_session(const KvStatistics& statistics, const Rotation& rotation,
                               int64_t window_length, int64_t session_length);

// No session is longer for us: no model is known that could have it, and tables are made by length.
inline constexpr int64_t kLongestSession = int64_t{1} << 24;

// The tokens that ranges are known for, of sessions of `session_length` tokens: those, or a
// window's where it had more, or where the statistics do not tell how K turns beyond it.
int64_t known_length(const StatisticsFile& file, int64_t session_length);

// How a prompt of so many tokens rotates.
using RotationOf = std::function<Rotation(const ModelConfig& model, int64_t length)>;

// The ranges that K and V take in sessions of `session_length` tokens, in the type of the cache.
KvStatistics served_ranges(const StatisticsFile& file, int64_t session_length,
                           const RotationOf& rotation);

}  // namespace kvcalib
