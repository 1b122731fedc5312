// SPDX-License-Identifier: Apache-2.0
#include "calibrate/delivery/output_place.h"

#include <utility>

#include "calibrate/output/output_directory.h"
#include "calibrate/output/weights_transaction.h"
#include "sharding/files/error.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {

std::unique_ptr<OutputTransaction> open_output(const OutputOptions& options,
                                               const RuntimeRow& runtime,
                                               const std::filesystem::path& weights) {
  if (options.in_place && is_hugging_face(weights))
    throw Error(concat("--in-place: ", weights.string(), " is a Hugging Face directory, and the ",
                       "runtime reads scales beside its own weights; give --output DIR, or make ",
                       "its weights with kvcalib shard first"));
  OutputNames names = delivery_names(runtime);
  if (options.in_place)
    return std::make_unique<WeightsTransaction>(weights, std::move(names), options.force);
  return std::make_unique<OutputDirectory>(*options.output, options.force,
                                           foreign_to(std::move(names)));
}

std::filesystem::path output_path(const OutputOptions& options,
                                  const std::filesystem::path& weights) {
  return options.in_place ? weights : *options.output;
}

void clear_output(const OutputOptions& options, const RuntimeRow& runtime,
                  const std::filesystem::path& weights) {
  if (options.in_place)
    WeightsTransaction::recover(weights, delivery_names(runtime));
  else
    open_output(options, runtime, weights);
}

}  // namespace kvcalib
