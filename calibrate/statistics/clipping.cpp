// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/clipping.h"

#include <array>
#include <cstdio>

#include "calibrate/statistics/range_search.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

Extremes span_of(const TensorScale& scale) {
  const double half = 127.5 * static_cast<double>(scale.scale);
  return {static_cast<double>(scale.zero) - half, static_cast<double>(scale.zero) + half};
}

// How many times what min/max loses is lost beyond the range of `scale`.
double clipped_ratio(const ChannelStatistics& channels, const TensorScale& scale) {
  const Histogram histogram = merged(channels.histograms, &HeadHistograms::importance);
  const RangeError error(histogram);
  const double least = error.of(span_of(ScaleMethod::kAsymmetric.scale_of(channels)));
  return least > 0 ? error.beyond(span_of(scale)) / least : 0;
}

// What is found of K or of V.
struct Clipped {
  int64_t places = 0;
  double most = 1;  // the largest ratio, and where
  int64_t layer = 0, rank = 0;
};

std::string sentence(const ScaleMethod& method, const KvTensor& tensor, const Clipped& clipped,
                     size_t places) {
  std::array<char, 32> ratio{};
  std::snprintf(ratio.data(), ratio.size(), "%.3g", clipped.most);
  return concat("--method ", method.text(), ": clips values of ", tensor.symbol,
                " that attention reads: by importance, this alone is more than all that min/max ",
                "loses in ", clipped.places, " of ", places, " scales (layer ", clipped.layer,
                ", rank ", clipped.rank, ": ", ratio.data(),
                " times); compare with asymmetric by kvcalib evaluate before it is served");
}

}  // namespace

std::vector<std::string> clipping_warnings(const KvStatistics& statistics, int64_t ranks,
                                           const ScaleMethod& method,
                                           const std::vector<KvScale>& scales) {
  std::vector<std::string> warnings;
  if (statistics.key_histograms.empty()) return warnings;
  for (const KvTensor& tensor : kKvTensors) {
    Clipped clipped;
    for (size_t i = 0; i < scales.size(); ++i) {
      const int64_t layer = static_cast<int64_t>(i) / ranks, rank = static_cast<int64_t>(i) % ranks;
      const TensorScale scale =
          tensor.statistics == &KvStatistics::keys ? scales[i].key() : scales[i].value();
      const double ratio = clipped_ratio(statistics.part(tensor, layer, rank, ranks), scale);
      clipped.places += ratio > 1 ? 1 : 0;
      if (ratio <= clipped.most) continue;
      clipped.most = ratio;
      clipped.layer = layer;
      clipped.rank = rank;
    }
    if (clipped.places > 0) warnings.push_back(sentence(method, tensor, clipped, scales.size()));
  }
  return warnings;
}

}  // namespace kvcalib
