// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/exchanged_scales.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <stdexcept>
#include <utility>

#include "calibrate/evaluate/phrases.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr int64_t kFirstCode = -128, kLastCode = 127;
// How badly an end of the codes fits values that go beyond it, as a share of their range: how far
// they go is not known.
constexpr double kBeyond = 0.1;
// Scales that were exchanged miss by more than this in all, and by a third of it or less when they
// are put back.  Other text than that of the calibration, or another method, misses too, but no
// pair of scales mends it for both.
constexpr double kMiss = 0.3, kMended = 1.0 / 3;

struct End {
  double at = 0;
  bool is_beyond = false;  // values lay farther out
};

// The range of the values that came, as far as their codes tell.
struct Range {
  End low, high;
};

double real(const TensorScale& scale, int64_t code) {
  return static_cast<double>(scale.zero) + static_cast<double>(code) * scale.scale;
}

Range range_of(const TensorFigures& figures, const TensorScale& scale) {
  const bool clips = figures.clipped > 0;
  return {{real(scale, figures.lowest), clips && figures.lowest == kFirstCode},
          {real(scale, figures.highest), clips && figures.highest == kLastCode}};
}

// Of one end, as a share of the range: `farther` is how much farther out the codes end.
double end_miss(const End& end, double farther, double step) {
  if (end.is_beyond) return farther < step ? kBeyond : 0;
  return std::abs(farther);
}

// How far the ends of a scale's codes are from those of the values.
double miss(const TensorFigures& figures, const TensorScale& own, const TensorScale& other) {
  if (figures.codes_used() < 2) return 0;
  const Range range = range_of(figures, own);
  const double width = range.high.at - range.low.at, step = own.scale / width;
  return end_miss(range.low, (range.low.at - real(other, kFirstCode)) / width, step) +
         end_miss(range.high, (real(other, kLastCode) - range.high.at) / width, step);
}

double miss(const RankFigures& figures, const KvScale& own, const KvScale& other) {
  return miss(figures.keys, own.key(), other.key()) +
         miss(figures.values, own.value(), other.value());
}

// Two that may have each other's scales: how far their own miss, and each other's.
struct Pair {
  double own_first = 0, own_second = 0, other_first = 0, other_second = 0;

  double own() const { return own_first + own_second; }
  double other() const { return other_first + other_second; }
  bool is_exchanged() const {
    return std::isfinite(own()) && own() > kMiss && other() <= kMended * own() &&
           other_first < own_first && other_second < own_second;
  }
  void operator+=(const Pair& more) {
    own_first += more.own_first;
    own_second += more.own_second;
    other_first += more.other_first;
    other_second += more.other_second;
  }
};

struct Found {
  double mended = 0;  // how much less is missed
  std::string sentence;
};

class Search {
 public:
  Search(const std::vector<LayerFigures>& layers, std::span<const KvScale> scales)
      : layers_(layers),
        scales_(scales),
        ranks_(layers.empty() ? 0 : layers.front().ranks.size()) {}

  std::vector<Found> found() const {
    std::vector<Found> all = of_layers();
    for (std::vector<Found> more : {of_ranks(), of_tensors()})
      all.insert(all.end(), more.begin(), more.end());
    return all;
  }

 private:
  const KvScale& scale(size_t layer, size_t rank) const { return scales_[layer * ranks_ + rank]; }

  Pair pair(size_t layer, size_t rank, size_t other_layer, size_t other_rank) const {
    const RankFigures& first = layers_[layer].ranks[rank];
    const RankFigures& second = layers_[other_layer].ranks[other_rank];
    const KvScale& of_first = scale(layer, rank);
    const KvScale& of_second = scale(other_layer, other_rank);
    return {miss(first, of_first, of_first), miss(second, of_second, of_second),
            miss(first, of_first, of_second), miss(second, of_second, of_first)};
  }

  std::vector<Found> of_layers() const {
    std::vector<Found> found;
    for (size_t i = 0; i < layers_.size(); ++i)
      for (size_t j = i + 1; j < layers_.size(); ++j) {
        Pair sum;
        for (size_t rank = 0; rank < ranks_; ++rank) sum += pair(i, rank, j, rank);
        if (sum.is_exchanged())
          found.push_back({sum.own() - sum.other(),
                           concat("layers ", i, " and ", j,
                                  " seem to have each other's scales: these fit the K and V of the "
                                  "other layer")});
      }
    return found;
  }

  std::vector<Found> of_ranks() const {
    std::map<std::pair<size_t, size_t>, std::pair<double, std::vector<std::string>>> by_pair;
    for (size_t layer = 0; layer < layers_.size(); ++layer)
      for (size_t i = 0; i < ranks_; ++i)
        for (size_t j = i + 1; j < ranks_; ++j)
          if (const Pair both = pair(layer, i, layer, j); both.is_exchanged()) {
            auto& [mended, places] = by_pair[{i, j}];
            mended += both.own() - both.other();
            places.push_back(concat(layer));
          }
    std::vector<Found> found;
    for (const auto& [pair, at] : by_pair)
      found.push_back({at.first, concat(at.second.size() > 1 ? "layers " : "layer ",
                                        listed(at.second), ": ranks ", pair.first, " and ",
                                        pair.second, " seem to have each other's scales")});
    return found;
  }

  std::vector<Found> of_tensors() const {
    double mended = 0;
    std::vector<std::string> places;
    for (size_t layer = 0; layer < layers_.size(); ++layer)
      for (size_t rank = 0; rank < ranks_; ++rank) {
        const RankFigures& at = layers_[layer].ranks[rank];
        const TensorScale key = scale(layer, rank).key(), value = scale(layer, rank).value();
        const Pair both = {miss(at.keys, key, key), miss(at.values, value, value),
                           miss(at.keys, key, value), miss(at.values, value, key)};
        if (!both.is_exchanged()) continue;
        mended += both.own() - both.other();
        places.push_back(concat("layer ", layer, " rank ", rank));
      }
    if (places.empty()) return {};
    return {{mended, concat(listed(places), ": the scales of K and V seem to be swapped")}};
  }

  const std::vector<LayerFigures>& layers_;
  std::span<const KvScale> scales_;
  size_t ranks_;
};

}  // namespace

std::vector<std::string> exchanged_scales(const std::vector<LayerFigures>& layers,
                                          std::span<const KvScale> scales) {
  size_t count = 0;
  for (const LayerFigures& layer : layers) count += layer.ranks.size();
  if (count != scales.size())
    throw std::invalid_argument(
        concat("exchanged_scales: ", scales.size(), " scales of ", count, " layers and ranks"));
  std::vector<Found> found = Search(layers, scales).found();
  std::stable_sort(found.begin(), found.end(),
                   [](const Found& a, const Found& b) { return a.mended > b.mended; });
  std::vector<std::string> sentences;
  for (Found& one : found) sentences.push_back(std::move(one.sentence));
  return sentences;
}

}  // namespace kvcalib
