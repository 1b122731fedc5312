// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/hugging_face_config.h"
#include "sharding/formats/hugging_face_layer.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/sane_model.h"

namespace kvcalib {

// config.json of a Hugging Face model, and the model that it describes.
void fuzz(std::string_view bytes) {
  const JsonObject config = JsonObject::parse(bytes, "config.json");
  const ModelFamily& family = read_family(config);
  const ModelConfig model = read_hugging_face_config(config, family);
  require_sane(model);
  require(!stored_tensors(model, family, model.layers - 1).empty());
}

}  // namespace kvcalib
