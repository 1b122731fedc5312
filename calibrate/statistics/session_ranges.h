// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "calibrate/statistics/kv_statistics.h"
#include "calibrate/statistics/statistics_file.h"
#include "sharding/formats/rotation.h"

namespace kvcalib {

// What windows of some tokens say about sessions that are longer.  K's rotary pairs go on turning:
// one that turns slowly comes to places where no window has seen it, and one that turns fast may
// have been large where it was not seen.

// How a prompt of so many tokens rotates.
using RotationOf = std::function<Rotation(const ModelConfig& model, int64_t length)>;

// The angle by which each pair turns at most, [head_dim / 2]: by the last position of any request
// that is no longer than the session.  Where the rotation depends on the request (dynamic NTK) it
// need not be the longest: asked for are the lengths around powers of two and those that the model
// was trained for, and 256 in equal steps.
std::vector<double> largest_turns(const ModelConfig& model, int64_t session_length,
                                  const RotationOf& rotation);

// The ranges with those of K widened to what its reach becomes when its pairs turn by any angle
// from 0 to `turns` [head_dim / 2], up to what lies between two of the 32 directions (half a
// percent); not rounded.  For pair j, turned by steps = ceil(turns[j] / (2 pi / 32)) directions, at
// most 31, and h(i) = max of reach[(i - s) mod 32] over s = 0 .. steps:
//   channel 2j      maximum = max(maximum, h(0))   minimum = min(minimum, -h(16))
//   channel 2j + 1  maximum = max(maximum, h(8))   minimum = min(minimum, -h(24))
// As they are where the reach is not known.
KvStatistics turned_ranges(const KvStatistics& statistics, std::span<const double> turns);

// No session is longer for us: no model is known that could have it, and tables are made by length.
inline constexpr int64_t kLongestSession = int64_t{1} << 24;

// The tokens that ranges are known for, of sessions of `session_length` tokens: those, or a
// window's where it had more, or where the statistics do not tell how K turns beyond it.
int64_t known_length(const StatisticsFile& file, int64_t session_length);

// The ranges that K and V take in sessions of `session_length` tokens, in the type of the cache:
// those of the windows where these were as long.  `model`: that will be served.
KvStatistics served_ranges(const StatisticsFile& file, const ModelConfig& model,
                           int64_t session_length, const RotationOf& rotation);

}  // namespace kvcalib
