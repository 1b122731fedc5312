// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "sharding/files/error.h"
#include "sharding/formats/model_bounds.h"
#include "sharding/formats/rotation.h"
#include "sharding/formats/turbomind_layout.h"
#include "tests/fuzz/fuzz_target.h"

namespace kvcalib {

// What holds of every model that a reader has let through: the sanitizers watch the products.
inline void require_sane(const ModelConfig& model) {
  try {
    check_model(model, {}, "");
  } catch (const Error&) {
    require(false);
  }
  uint64_t bytes = 0;
  for (const TurboMindLayerFile& file : turbomind_layer_files(model, 1)) bytes += file.bytes();
  require(bytes > 0 && bytes < uint64_t{1} << 62);
  require(bytes * static_cast<uint64_t>(model.layers) >= bytes);
  require(turbomind_table_bytes(model, model.vocab) > 0);
  if (!model.own_rotation) return;
  for (const int64_t length : {1, 2048, 1 << 20})
    for (const double frequency : own_rotation(model, length).frequencies)
      require(std::isfinite(frequency) && frequency >= 0);
}

}  // namespace kvcalib
