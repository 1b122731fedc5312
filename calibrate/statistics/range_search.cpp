// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/range_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <span>

namespace kvcalib {
namespace {

constexpr double kHalf = kHistogramBins / 2;
constexpr double kSteps = 255;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

double middle_of(size_t bin) { return static_cast<double>(bin) + 0.5 - kHalf; }

double square(double value) { return value * value; }

double fraction(int steps) { return static_cast<double>(steps) / kFractionSteps; }

// A fraction of an extreme, where the extreme is not 0.
double bounded(double end, double extreme) {
  return extreme == 0 ? 1.0 : std::clamp(end / extreme, kLeastFraction, 1.0);
}

// How far from the histogram's end, in bins, one comes with `share` of the mass behind.  `mass_at`:
// of the bins from that end on.
template <typename MassAt>
double bins_passed(double share, const MassAt& mass_at) {
  double passed = 0;
  for (size_t bin = 0; bin < kHistogramBins; ++bin) {
    const double mass = mass_at(bin);
    if (passed + mass > share) return static_cast<double>(bin) + (share - passed) / mass;
    passed += mass;
  }
  return kHistogramBins;
}

// Bins [first, last) of a histogram.
struct Cut {
  size_t first, last;
  size_t bins() const { return last - first; }
};

Cut cut_of(const Histogram& histogram, const Extremes& extremes, double part) {
  const double first = std::floor(part * extremes.low / histogram.width + kHalf);
  const double last = std::floor(part * extremes.high / histogram.width + kHalf) + 1;
  return {static_cast<size_t>(first), std::min(static_cast<size_t>(last), size_t{kHistogramBins})};
}

// The mass of each of the bins when a level's mass is spread over its bins that have any.
std::vector<double> through_levels(std::span<const double> bins) {
  constexpr auto kLevels = static_cast<size_t>(kSteps);
  std::vector<double> level_mass(kLevels), level_bins(kLevels);
  const auto level_of = [&](size_t bin) { return bin * kLevels / bins.size(); };
  for (size_t i = 0; i < bins.size(); ++i) {
    level_mass[level_of(i)] += bins[i];
    level_bins[level_of(i)] += bins[i] > 0 ? 1 : 0;
  }
  std::vector<double> spread(bins.size());
  for (size_t i = 0; i < bins.size(); ++i)
    if (bins[i] > 0) spread[i] = level_mass[level_of(i)] / level_bins[level_of(i)];
  return spread;
}

double divergence(const Histogram& histogram, const Cut& cut) {
  const std::span<const double> all(histogram.mass);
  const std::span<const double> within = all.subspan(cut.first, cut.bins());
  const std::vector<double> coded = through_levels(within);
  const double coded_mass = std::accumulate(coded.begin(), coded.end(), 0.0);
  std::vector<double> true_mass(within.begin(), within.end());
  for (size_t i = 0; i < cut.first; ++i) true_mass.front() += all[i];
  for (size_t i = cut.last; i < all.size(); ++i) true_mass.back() += all[i];
  const double mass = std::accumulate(true_mass.begin(), true_mass.end(), 0.0);
  double sum = 0;
  for (size_t i = 0; i < true_mass.size(); ++i) {
    if (true_mass[i] == 0) continue;
    if (coded[i] == 0) return kInfinity;
    sum += true_mass[i] / mass * std::log((true_mass[i] / mass) / (coded[i] / coded_mass));
  }
  return sum;
}

}  // namespace

RangeError::Moments RangeError::Moments::plus(double mass_of_bin, double middle) const {
  return {mass + mass_of_bin, first + mass_of_bin * middle,
          second + mass_of_bin * (square(middle) + 1.0 / 12)};
}

RangeError::RangeError(const Histogram& histogram)
    : histogram_(histogram), above_(kHistogramBins + 1), below_(kHistogramBins + 1) {
  for (size_t i = kHistogramBins; i-- > 0;)
    above_[i] = above_[i + 1].plus(histogram.mass[i], middle_of(i));
  for (size_t i = 0; i < kHistogramBins; ++i)
    below_[i + 1] = below_[i].plus(histogram.mass[i], middle_of(i));
}

RangeError::Tail RangeError::above(double end, double code) const {
  const double place = end + kHalf;
  if (place >= kHistogramBins) return {};
  const double bin = std::floor(place), rest = 1 - (place - bin);
  const auto index = static_cast<size_t>(bin);
  const Moments& whole = above_[index + 1];
  const double part = histogram_.mass[index] * rest, middle = bin + 1 - kHalf - rest / 2;
  return {whole.mass + part, whole.second - 2 * code * whole.first + square(code) * whole.mass +
                                 part * (square(middle - code) + square(rest) / 12)};
}

RangeError::Tail RangeError::below(double end, double code) const {
  const double place = end + kHalf;
  if (place <= 0) return {};
  const double bin = std::floor(place), rest = place - bin;
  const auto index = static_cast<size_t>(bin);
  const Moments& whole = below_[index];
  const double part = histogram_.mass[index] * rest, middle = bin - kHalf + rest / 2;
  return {whole.mass + part, whole.second - 2 * code * whole.first + square(code) * whole.mass +
                                 part * (square(middle - code) + square(rest) / 12)};
}

RangeError::Range RangeError::in_widths(const Extremes& range) const {
  const double low = range.low / histogram_.width, high = range.high / histogram_.width;
  return {low, high, (high - low) / kSteps};
}

double RangeError::of(const Extremes& range) const {
  const auto [low, high, step] = in_widths(range);
  const Tail over = above(high, high - step / 2), under = below(low - step, low - step / 2);
  const double within = above_.front().mass - over.mass - under.mass;
  return square(step) / 12 * within + over.error + under.error;
}

double RangeError::beyond(const Extremes& range) const {
  const auto [low, high, step] = in_widths(range);
  return above(high, high - step / 2).error + below(low - step, low - step / 2).error;
}

Fractions least_error(const Histogram& histogram, const Extremes& extremes) {
  const RangeError error(histogram);
  Fractions best;
  double least = kInfinity;
  for (int i = kFractionSteps; i > 0; --i) {
    for (int j = kFractionSteps; j > 0; --j) {
      const Fractions tried{fraction(i), fraction(j)};
      const double found = error.of({tried.low * extremes.low, tried.high * extremes.high});
      if (found < least) {
        least = found;
        best = tried;
      }
    }
  }
  return best;
}

Fractions central_share(const Histogram& histogram, const Extremes& extremes, double percent) {
  const std::vector<double>& mass = histogram.mass;
  const double share = std::accumulate(mass.begin(), mass.end(), 0.0) * ((100 - percent) / 200);
  const double below = bins_passed(share, [&](size_t bin) { return mass[bin]; });
  const double above =
      bins_passed(share, [&](size_t bin) { return mass[kHistogramBins - 1 - bin]; });
  return {bounded((below - kHalf) * histogram.width, extremes.low),
          bounded((kHalf - above) * histogram.width, extremes.high)};
}

Fractions least_divergence(const Histogram& histogram, const Extremes& extremes) {
  double best = 1, least = kInfinity;
  for (int i = kFractionSteps; i > 0; --i) {
    const Cut cut = cut_of(histogram, extremes, fraction(i));
    if (i < kFractionSteps && cut.bins() < 256) break;
    const double found = divergence(histogram, cut);
    if (found < least) {
      least = found;
      best = fraction(i);
    }
  }
  return {best, best};
}

}  // namespace kvcalib
