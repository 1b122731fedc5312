// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/planned_model.h"

#include "calibrate/engine/pass_plan.h"
#include "sharding/formats/open_weights.h"
#include "sharding/formats/preset.h"

namespace kvcalib {

bool names_preset(const std::filesystem::path& weights) { return weights.extension() == ".json"; }

PlannedModel planned_model(const std::filesystem::path& weights) {
  PlannedModel model;
  if (names_preset(weights)) {
    model.config = read_preset(weights);
    model.layer_bytes = stored_layer_bytes(model.config);
    return model;
  }
  model.directory = open_weights(weights);
  model.config = model.directory->config();
  model.layer_bytes = stored_layer_bytes(*model.directory);
  return model;
}

}  // namespace kvcalib
