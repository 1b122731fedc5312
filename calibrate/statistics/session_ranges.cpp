// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/session_ranges.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>

namespace kvcalib {
namespace {

constexpr int64_t kQuarter = kReachDirections / 4;

// Of the directions that a pair is turned by until the last position.
int64_t steps_until(int64_t length, double turn_per_token) {
  constexpr double kStep = 2.0 * std::numbers::pi / kReachDirections;
  const double steps =
      std::ceil(std::fabs(turn_per_token) * static_cast<double>(length - 1) / kStep);
  return static_cast<int64_t>(std::min(steps, static_cast<double>(kReachDirections - 1)));
}

// The furthest that a pair comes in a direction when it is turned by 0 to `steps`.
float furthest(std::span<const float> reach, int64_t direction, int64_t steps) {
  float most = reach[static_cast<size_t>(direction)];
  for (int64_t step = 1; step <= steps; ++step)
    most = std::max(
        most, reach[static_cast<size_t>((direction - step + kReachDirections) % kReachDirections)]);
  return most;
}

}  // namespace

KvStatistics ranges_of_session(const KvStatistics& statistics, const Rotation& rotation,
                               int64_t window_length, int64_t session_length) {
  KvStatistics result = statistics;
  if (session_length <= window_length || statistics.key_reach.empty()) return result;
  const auto half = static_cast<size_t>(statistics.head_dim / 2);
  for (size_t pair = 0; pair < statistics.key_reach.size() / kReachDirections; ++pair) {
    const double turn = rotation.frequencies[pair % half] / rotation.divisor;
    if (window_length > 0 && steps_until(window_length, turn) == kReachDirections - 1) continue;
    const int64_t steps = steps_until(session_length, turn);
    const auto reach =
        std::span(statistics.key_reach).subspan(pair * kReachDirections, kReachDirections);
    for (size_t channel = 0; channel < 2; ++channel) {
      const auto direction = static_cast<int64_t>(channel) * kQuarter;
      float& minimum = result.keys.minimum[2 * pair + channel];
      float& maximum = result.keys.maximum[2 * pair + channel];
      maximum = std::max(maximum, furthest(reach, direction, steps));
      minimum = std::min(minimum, -furthest(reach, direction + 2 * kQuarter, steps));
    }
  }
  return result;
}

int64_t known_length(const StatisticsFile& file, int64_t session_length) {
  const int64_t window = file.provenance.length;
  return file.statistics.key_reach.empty()
             ? window
             : std::max(window, std::min(session_length, kLongestSession));
}

KvStatistics served_ranges(const StatisticsFile& file, int64_t session_length,
                           const RotationOf& rotation) {
  const Provenance& provenance = file.provenance;
  const int64_t length = known_length(file, session_length);
  if (length == provenance.length) return file.statistics;
  return ranges_of_session(file.statistics, rotation(provenance.model, length), provenance.length,
                           length)
      .rounded(provenance.model.weight_type);
}

}  // namespace kvcalib
