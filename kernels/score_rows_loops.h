// SPDX-License-Identifier: Apache-2.0
#pragma once

// Part of every instruction_set_*.cpp, each compiled for other processors; in an unnamed namespace,
// so that the linker cannot take one processor's copy for another's.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/divergence_terms.h"
#include "kernels/exponential.h"
#include "kernels/score_rows.h"

namespace kvcalib::kernels::cpu {
namespace {

// Sums go in kLanes lanes over kBlock elements, and from block to block in double: that fixes their
// order.
struct ScoreRowsLoops {
  static constexpr int64_t kLanes = 32, kBlock = 1024;
  static_assert(kBlock % kLanes == 0);

  static void score(const ScoreRowsArguments& arguments, int64_t first_row, int64_t last_row) {
    for (int64_t row = first_row; row < last_row; ++row) {
      const float* const logits = arguments.logits + row * arguments.stride;
      const Largest top = largest(logits, arguments.vocab);
      double sum = 0.0;
      for (int64_t first = 0; first < arguments.vocab; first += kBlock)
        sum += exponentials(logits + first, std::min(kBlock, arguments.vocab - first), top.value);
      arguments.top[row] = static_cast<int32_t>(top.place);
      arguments.log_sum[row] = top.value > kLowest ? static_cast<double>(top.value) + std::log(sum)
                                                   : -std::numeric_limits<double>::infinity();
    }
  }

  static void diverge(const DivergeRowsArguments& arguments, int64_t first_row, int64_t last_row) {
    for (int64_t row = first_row; row < last_row; ++row) {
      const float* const base = arguments.base + row * arguments.base_stride;
      const float* const other = arguments.other + row * arguments.other_stride;
      const Shift shift(arguments.base_log_sum[row], arguments.other_log_sum[row]);
      double forward = 0.0, reverse = 0.0;
      for (int64_t first = 0; first < arguments.vocab; first += kBlock) {
        const int64_t count = std::min(kBlock, arguments.vocab - first);
        Sums sums = over_block<add_near>(base + first, other + first, count, shift);
        if (!sums.are_near) sums = over_block<add_far>(base + first, other + first, count, shift);
        forward += sums.forward;
        reverse += sums.reverse;
      }
      arguments.forward[row] = static_cast<float>(forward);
      arguments.reverse[row] = static_cast<float>(reverse);
    }
  }

 private:
  struct Shift {
    Shift(double base_log_sum, double other_log_sum)
        : base(static_cast<float>(base_log_sum)),
          other(static_cast<float>(other_log_sum)),
          between(static_cast<float>(base_log_sum - other_log_sum)) {}
    float base, other, between;
  };
  struct Sums {
    float forward, reverse;
    bool are_near;  // the series serves all of them
  };
  struct Largest {
    float value;
    int64_t place;
  };
  static constexpr float kLowest = std::numeric_limits<float>::lowest();

  // Of which none is NaN; where there is nothing more, the lowest number and 0.
  static Largest largest(const float* logits, int64_t count) {
    Largest found{kLowest, 0};
    int64_t block = 0;
    for (int64_t first = 0; first < count; first += kBlock) {
      const float value = largest_of_block(logits + first, std::min(kBlock, count - first));
      if (value <= found.value) continue;
      found.value = value;
      block = first;
    }
    for (int64_t i = block; i < std::min(block + kBlock, count); ++i)
      if (logits[i] == found.value) return {found.value, i};
    return found;
  }

  static float largest_of_block(const float* logits, int64_t count) {
    float lanes[kLanes];
    std::fill(lanes, lanes + kLanes, kLowest);
    const int64_t whole = count / kLanes * kLanes;
    for (int64_t i = 0; i < whole; i += kLanes)
      for (int64_t lane = 0; lane < kLanes; ++lane)
        lanes[lane] = logits[i + lane] > lanes[lane] ? logits[i + lane] : lanes[lane];
    for (int64_t i = whole; i < count; ++i)
      lanes[i - whole] = logits[i] > lanes[i - whole] ? logits[i] : lanes[i - whole];
    for (int64_t half = kLanes / 2; half > 0; half /= 2)
      for (int64_t lane = 0; lane < half; ++lane)
        lanes[lane] = lanes[lane + half] > lanes[lane] ? lanes[lane + half] : lanes[lane];
    return lanes[0];
  }

  static float sum_of(float* lanes) {
    for (int64_t half = kLanes / 2; half > 0; half /= 2)
      for (int64_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
    return lanes[0];
  }

  static float exponentials(const float* logits, int64_t count, float maximum) {
    float lanes[kLanes] = {};
    const int64_t whole = count / kLanes * kLanes;
    for (int64_t i = 0; i < whole; i += kLanes)
      for (int64_t lane = 0; lane < kLanes; ++lane)
        lanes[lane] += probability(logits[i + lane] - maximum);
    for (int64_t i = whole; i < count; ++i) lanes[i - whole] += probability(logits[i] - maximum);
    return sum_of(lanes);
  }

  // Adds what one place in the vocabulary has, and says whether the series serves it; NaN is far.
  [[gnu::always_inline]] static bool add_near(float base, float other, const Shift& shift,
                                              float& forward, float& reverse) {
    const float d = base - other - shift.between;
    const DivergenceSeries g = divergence_series(d);
    const float p = probability(base - shift.base), toward = g.even - g.odd;
    forward += p * toward;
    reverse += p * (1.0f - d + toward) * (g.even + g.odd);
    return std::abs(d) < kSeriesBound;
  }

  [[gnu::always_inline]] static bool add_far(float base, float other, const Shift& shift,
                                             float& forward, float& reverse) {
    const float d = base - other - shift.between;
    const DivergenceSeries g = divergence_series(d);
    const float p = exponential(base - shift.base), q = exponential(other - shift.other);
    const float difference = q - p;
    const float p_ratio = p == 0.0f ? 0.0f : p * d, q_ratio = q == 0.0f ? 0.0f : q * d;
    const bool is_near = std::abs(d) < kSeriesBound;
    forward += is_near ? p * (g.even - g.odd) : p_ratio + difference;
    reverse += is_near ? q * (g.even + g.odd) : -q_ratio - difference;
    return is_near;
  }

  template <auto add>
  static Sums over_block(const float* base, const float* other, int64_t count, const Shift& shift) {
    float forward[kLanes] = {}, reverse[kLanes] = {};
    uint32_t far[kLanes] = {};
    const int64_t whole = count / kLanes * kLanes;
    for (int64_t i = 0; i < whole; i += kLanes)
      for (int64_t lane = 0; lane < kLanes; ++lane)
        far[lane] |=
            add(base[i + lane], other[i + lane], shift, forward[lane], reverse[lane]) ? 0u : 1u;
    for (int64_t i = whole; i < count; ++i)
      far[0] |= add(base[i], other[i], shift, forward[i - whole], reverse[i - whole]) ? 0u : 1u;
    for (int64_t lane = 1; lane < kLanes; ++lane) far[0] |= far[lane];
    return {sum_of(forward), sum_of(reverse), far[0] == 0};
  }
};

}  // namespace
}  // namespace kvcalib::kernels::cpu
