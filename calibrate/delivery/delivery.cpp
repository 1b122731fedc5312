// SPDX-License-Identifier: Apache-2.0
#include "calibrate/delivery/delivery.h"

#include <utility>

#include "calibrate/delivery/scale_export.h"

namespace kvcalib {

Delivery make_delivery(const WeightDirectory& weights, const Target& target,
                       std::shared_ptr<const StatisticsFile> statistics, std::string place,
                       const std::optional<RunCost>& cost) {
  Delivery delivery;
  delivery.target = target;
  delivery.place = std::move(place);
  delivery.statistics = std::move(statistics);
  delivery.scales = compute_scales(delivery.statistics->statistics, target.ranks, target.method);
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
