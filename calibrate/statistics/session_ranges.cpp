// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/session_ranges.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <set>

namespace kvcalib {
namespace {

constexpr int64_t kQuarter = kReachDirections / 4;

// Requests whose rotation is asked for.
std::set<int64_t> request_lengths(const ModelConfig& model, int64_t session_length) {
  constexpr int64_t kSteps = 256;
  std::set<int64_t> lengths{session_length};
  const auto add_around = [&](int64_t length) {
    for (const int64_t near : {length - 1, length, length + 1})
      if (near >= 1 && near <= session_length) lengths.insert(near);
  };
  for (int64_t length = 1; length <= session_length; length *= 2) add_around(length);
  add_around(model.max_position_embeddings);
  if (model.own_rotation) add_around(model.own_rotation->original_positions);
  for (int64_t step = 1; step < kSteps; ++step)
    lengths.insert(std::max<int64_t>(1, session_length / kSteps * step));
  return lengths;
}

// Of the directions that a pair is turned by.
int64_t steps_of(double turn) {
  constexpr double kStep = 2.0 * std::numbers::pi / kReachDirections;
  const double steps = std::ceil(std::fabs(turn) / kStep);
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

// What turns beyond the largest number of the cache's type would not have been infinite at any
// position that was seen.
void hold_in(WeightType type, std::vector<float>& values) {
  constexpr float kLargestHalf = 65504.0f, kLargestBrain = 0x1.FEp127f;
  const float most = type == WeightType::kFloat16 ? kLargestHalf : kLargestBrain;
  for (float& value : values) value = std::clamp(value, -most, most);
}

}  // namespace

std::vector<double> largest_turns(const ModelConfig& model, int64_t session_length,
                                  const RotationOf& rotation) {
  ModelConfig turning = model;
  turning.use_logn_attention = false;  // is of queries, and takes a table as long as the request
  std::vector<double> turns(static_cast<size_t>(model.head_dim / 2), 0.0);
  for (const int64_t length : request_lengths(model, session_length)) {
    const Rotation rotated = rotation(turning, length);
    for (size_t pair = 0; pair < turns.size(); ++pair)
      turns[pair] = std::max(turns[pair], rotated.frequencies[pair] / rotated.divisor *
                                              static_cast<double>(length - 1));
  }
  return turns;
}

KvStatistics turned_ranges(const KvStatistics& statistics, std::span<const double> turns) {
  KvStatistics result = statistics;
  for (size_t pair = 0; pair < statistics.key_reach.size() / kReachDirections; ++pair) {
    const int64_t steps = steps_of(turns[pair % turns.size()]);
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

KvStatistics served_ranges(const StatisticsFile& file, const ModelConfig& model,
                           int64_t session_length, const RotationOf& rotation) {
  const int64_t length = known_length(file, session_length);
  if (length == file.provenance.length) return file.statistics;
  KvStatistics served = turned_ranges(file.statistics, largest_turns(model, length, rotation));
  hold_in(model.weight_type, served.keys.minimum);
  hold_in(model.weight_type, served.keys.maximum);
  return served.rounded(model.weight_type);
}

}  // namespace kvcalib
