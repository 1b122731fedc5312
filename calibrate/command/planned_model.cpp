// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/planned_model.h"

#include "calibrate/engine/pass_plan.h"
#include "sharding/formats/open_weights.h"
#include "sharding/formats/preset.h"

namespace kvcalib {

bool names_preset(const std::filesystem::path& weights) { return weights.extension() == ".json"; }

PlannedModel planned_model(const std::filesystem::path& weights, const RuntimeRow& runtime) {
  PlannedModel model;
  if (names_preset(weights)) {
    model.config = read_preset(weights);
    model.layer_bytes = stored_layer_bytes(model.config);
    model.embedding_rows = runtime.converted_embedding_rows(model.config);
    return model;
  }
  model.directory = open_weights(weights);
  model.config = model.directory->config();
  model.layer_bytes = stored_layer_bytes(*model.directory);
  model.embedding_rows = served_embedding_rows(*model.directory);
  return model;
}

}  // namespace kvcalib
