// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/divergence.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "calibrate/evaluate/percentiles.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr int64_t kFirstPlace = 16;  // tokens

// Residuals of clusters' sums around what their number of values would bring.
std::vector<double> residuals(std::span<const ClusterSum> clusters, double mean) {
  std::vector<double> left;
  for (const ClusterSum& cluster : clusters)
    left.push_back(cluster.sum - static_cast<double>(cluster.count) * mean);
  return left;
}

Estimate exponential(const Estimate& logarithm) {
  const double value = std::exp(logarithm.value);
  return {value, value * logarithm.error};
}

// PPL(q) - PPL(b): the error of its linear part in both mean surprises, which go together.
Estimate difference_of(std::span<const ClusterSum> base, std::span<const ClusterSum> other,
                       int64_t tokens) {
  const Estimate base_mean = clustered_mean(base), other_mean = clustered_mean(other);
  const double base_perplexity = std::exp(base_mean.value);
  const double perplexity = std::exp(other_mean.value);
  std::vector<double> left = residuals(other, other_mean.value);
  const std::vector<double> base_left = residuals(base, base_mean.value);
  for (size_t i = 0; i < left.size(); ++i)
    left[i] = perplexity * left[i] - base_perplexity * base_left[i];
  return {perplexity - base_perplexity, clustered_error(left, tokens)};
}

double correlation_of(std::span<const ClusterSum> base, std::span<const ClusterSum> other) {
  const std::vector<double> left = residuals(other, clustered_mean(other).value);
  const std::vector<double> base_left = residuals(base, clustered_mean(base).value);
  double covariance = 0, variance = 0, base_variance = 0;
  for (size_t i = 0; i < left.size(); ++i) {
    covariance += left[i] * base_left[i];
    variance += left[i] * left[i];
    base_variance += base_left[i] * base_left[i];
  }
  const double product = std::sqrt(variance * base_variance);
  return left.size() < 2 || product == 0 ? kUnknown : 100 * covariance / product;
}

Estimate root_of(const Estimate& square) {
  const double value = std::sqrt(square.value);
  return {value, value == 0 ? square.error : square.error / (2 * value)};
}

// Sums of one kind, by window.
template <typename Sums>
std::vector<ClusterSum> clusters_of(const std::vector<Sums>& windows, double Sums::*kind) {
  std::vector<ClusterSum> clusters;
  for (const Sums& window : windows) clusters.push_back({window.*kind, window.tokens});
  return clusters;
}

template <typename Sums>
Estimate mean_of(const std::vector<Sums>& windows, double Sums::*kind) {
  return clustered_mean(clusters_of(windows, kind));
}

// What the second has more than the first.
std::vector<ClusterSum> differences(const std::vector<ClusterSum>& base,
                                    std::vector<ClusterSum> other) {
  for (size_t i = 0; i < other.size(); ++i) other[i].sum -= base[i].sum;
  return other;
}

void check_fit(const TokenScores& stream, bool is_first, size_t tokens) {
  const size_t compared = is_first ? 0 : tokens;
  if (stream.surprise.size() != tokens || stream.divergence.size() != compared ||
      stream.reverse_divergence.size() != compared || stream.same_top.size() != compared)
    throw std::invalid_argument("DivergenceMeter: scores and tokens differ in number");
}

}  // namespace

DivergenceMeter::DivergenceMeter(size_t streams) : streams_(streams) {}

void DivergenceMeter::Sums::add(const Sums& token) {
  tokens += token.tokens;
  surprise += token.surprise;
  divergence += token.divergence;
  reverse_divergence += token.reverse_divergence;
  change += token.change;
  squared_change += token.squared_change;
  same_top += token.same_top;
}

DivergenceMeter::Sums DivergenceMeter::sums_of(const TreeScores& scores, size_t stream,
                                               size_t token) {
  const TokenScores& of = scores.streams[stream];
  Sums sums = {.tokens = 1, .surprise = of.surprise[token], .same_top = 1};
  if (stream == 0) return sums;
  const double base = scores.streams.front().surprise[token];
  sums.divergence = of.divergence[token];
  sums.reverse_divergence = of.reverse_divergence[token];
  sums.same_top = of.same_top[token] != 0 ? 1 : 0;
  sums.change = 100 * (std::exp(-sums.surprise) - std::exp(-base));
  sums.squared_change = sums.change * sums.change;
  return sums;
}

DivergenceMeter::Place& DivergenceMeter::place_of(int64_t position) {
  const auto found = std::find_if(places_.begin(), places_.end(), [position](const Place& place) {
    return position <= place.last;
  });
  if (found != places_.end() && position >= found->first) return *found;
  int64_t end = kFirstPlace;
  while (position >= end) end *= 2;
  const int64_t first = end == kFirstPlace ? 0 : end / 2;
  return *places_.insert(found, {first, end - 1, std::vector<std::vector<Sums>>(streams_.size())});
}

void DivergenceMeter::add(int64_t start, const TreeScores& scores,
                          std::span<const uint8_t> scored) {
  if (scores.streams.size() != streams_.size() || start < 0)
    throw std::invalid_argument(concat("DivergenceMeter: ", scores.streams.size(), " streams from ",
                                       start, ", expected ", streams_.size()));
  for (size_t s = 0; s < streams_.size(); ++s) check_fit(scores.streams[s], s == 0, scored.size());
  if (std::all_of(scored.begin(), scored.end(), [](uint8_t is) { return is == 0; })) return;
  for (Stream& stream : streams_) stream.windows.emplace_back();
  Place* place = nullptr;
  for (size_t t = 0; t < scored.size(); ++t) {
    if (scored[t] == 0) continue;
    const int64_t position = start + static_cast<int64_t>(t);
    if (place == nullptr || position > place->last) {
      place = &place_of(position);
      for (std::vector<Sums>& windows : place->windows) windows.emplace_back();
    }
    for (size_t s = 0; s < streams_.size(); ++s) {
      const Sums token = sums_of(scores, s, t);
      streams_[s].windows.back().add(token);
      place->windows[s].back().add(token);
      streams_[s].divergences.push_back(token.divergence);
      streams_[s].changes.push_back(token.change);
      const bool finite = std::isfinite(token.surprise) && std::isfinite(token.divergence) &&
                          std::isfinite(token.reverse_divergence);
      streams_[s].not_finite += finite ? 0 : 1;
    }
  }
}

StreamMeasures DivergenceMeter::measures(size_t stream) const {
  const std::vector<Sums>& windows = streams_[stream].windows;
  const auto mean = [&](double Sums::*kind) { return mean_of(windows, kind); };
  const std::vector<ClusterSum> base = clusters_of(streams_.front().windows, &Sums::surprise);
  const std::vector<ClusterSum> other = clusters_of(windows, &Sums::surprise);
  StreamMeasures measures;
  measures.not_finite = streams_[stream].not_finite;
  measures.surprise = clustered_mean(other);
  measures.perplexity = exponential(measures.surprise);
  measures.correlation = correlation_of(base, other);
  measures.log_ratio = clustered_mean(differences(base, other));
  measures.ratio = exponential(measures.log_ratio);
  measures.difference =
      difference_of(base, other, static_cast<int64_t>(streams_[stream].changes.size()));
  measures.divergence = mean(&Sums::divergence);
  if (stream > 1)
    measures.divergence_excess =
        clustered_mean(differences(clusters_of(streams_[1].windows, &Sums::divergence),
                                   clusters_of(windows, &Sums::divergence)));
  measures.divergence_at = percentiles(streams_[stream].divergences, kDivergencePercents);
  measures.reverse_divergence = mean(&Sums::reverse_divergence);
  measures.change = mean(&Sums::change);
  measures.change_at = percentiles(streams_[stream].changes, kChangePercents);
  measures.change_rms = root_of(mean(&Sums::squared_change));
  measures.same_top = scaled(mean(&Sums::same_top), 100);
  for (const Place& place : places_) {
    const std::vector<Sums>& there = place.windows[stream];
    PlaceMeasures& at = measures.places.emplace_back();
    at.first = place.first;
    at.last = place.last;
    for (const Sums& window : there) at.tokens += window.tokens;
    at.log_ratio = clustered_mean(differences(clusters_of(place.windows.front(), &Sums::surprise),
                                              clusters_of(there, &Sums::surprise)));
    at.divergence = mean_of(there, &Sums::divergence);
    at.reverse_divergence = mean_of(there, &Sums::reverse_divergence);
    at.change = mean_of(there, &Sums::change);
    at.change_rms = root_of(mean_of(there, &Sums::squared_change));
    at.same_top = scaled(mean_of(there, &Sums::same_top), 100);
  }
  return measures;
}

TextMeasures DivergenceMeter::measures() const {
  TextMeasures measures;
  if (streams_.empty()) return measures;
  measures.windows = static_cast<int64_t>(streams_.front().windows.size());
  measures.tokens = static_cast<int64_t>(streams_.front().changes.size());
  for (size_t s = 0; s < streams_.size(); ++s) measures.streams.push_back(this->measures(s));
  return measures;
}

}  // namespace kvcalib
