// SPDX-License-Identifier: Apache-2.0
#include "calibrate/delivery/delivery.h"

#include <span>
#include <utility>

#include "calibrate/delivery/scale_export.h"
#include "calibrate/statistics/clipping.h"
#include "calibrate/statistics/session_ranges.h"

namespace kvcalib {
namespace {

Widening widening_of(std::span<const KvScale> of_sessions, std::span<const KvScale> of_windows,
                     int64_t ranks) {
  Widening most;
  for (size_t i = 0; i < of_windows.size(); ++i) {
    const double factor = of_sessions[i].k_scale / of_windows[i].k_scale;
    const auto index = static_cast<int64_t>(i);
    if (factor > most.factor) most = {index / ranks, index % ranks, factor};
  }
  return most;
}

void set_scales(const ModelConfig& config, Delivery& delivery) {
  const StatisticsFile& file = *delivery.statistics;
  const Target& target = delivery.target;
  delivery.session_length = known_length(file, target.session_length);
  delivery.scales =
      compute_scales(target.runtime->served_ranges(file, config, delivery.session_length),
                     target.ranks, target.method);
  if (delivery.session_length > file.provenance.length)
    delivery.widening =
        widening_of(delivery.scales, compute_scales(file.statistics, target.ranks, target.method),
                    target.ranks);
  delivery.clipped =
      clipping_warnings(file.statistics, target.ranks, target.method, delivery.scales);
}

}  // namespace

Delivery make_delivery(const WeightDirectory& weights, const Target& target,
                       std::shared_ptr<const StatisticsFile> statistics, std::string place,
                       const std::optional<RunCost>& cost) {
  Delivery delivery;
  delivery.target = target;
  delivery.place = std::move(place);
  delivery.statistics = std::move(statistics);
  set_scales(weights.config(), delivery);
  delivery.cost = cost;
  delivery.beside_scales = target.runtime->beside_scales_in_words(weights);

  for (OutputFile& file :
       target.runtime->files({weights, *delivery.statistics, delivery.scales, target.ranks})) {
    delivery.files.push_back({std::move(file.name), [bytes = std::move(file.bytes)](
                                                        ByteSink& sink) { sink.append(bytes); }});
  }
  delivery.files.push_back(
      {kStatisticsFileName, [whole = delivery.statistics](ByteSink& sink) { whole->write(sink); }});
  return delivery;
}

void stage_delivery(OutputTransaction& output, const Delivery& delivery) {
  const std::string folder = folder_of(delivery.target, kTurboMind);
  for (const DeliveredFile& file : delivery.files) output.write(folder + file.name, file.content);
}

}  // namespace kvcalib
