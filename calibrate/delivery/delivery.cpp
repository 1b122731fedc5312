// SPDX-License-Identifier: Apache-2.0
#include "calibrate/delivery/delivery.h"

#include <utility>

#include "calibrate/statistics/clipping.h"

namespace kvcalib {

Delivery make_delivery(const WeightDirectory& weights, const Target& target,
                       StatisticsFile statistics, std::string place,
                       const std::optional<RunCost>& cost) {
  Delivery delivery;
  delivery.target = target;
  delivery.place = std::move(place);
  delivery.statistics = std::make_shared<const StatisticsFile>(std::move(statistics));
  delivery.scales = compute_scales(delivery.statistics->statistics, target.ranks, target.method);
  delivery.clipped = clipping_warnings(delivery.statistics->statistics, target.ranks, target.method,
                                       delivery.scales);
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

void write_delivery(OutputTransaction& output, const Delivery& delivery) {
  for (const DeliveredFile& file : delivery.files) output.write(file.name, file.content);
  output.commit();
}

}  // namespace kvcalib
