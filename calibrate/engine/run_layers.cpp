// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/run_layers.h"

namespace kvcalib {

void run_layers(LayerSource& source, int64_t first_layer, int64_t last_layer,
                LayerVisitor& visitor) {
  const int64_t late = source.device().is_cpu() ? 0 : 1;
  int64_t finished = first_layer;
  for (int64_t layer = first_layer; layer < last_layer; ++layer) {
    visitor.visit(layer, source.next(), source);
    for (; finished <= layer - late; ++finished) visitor.finish(finished);
  }
  for (; finished < last_layer; ++finished) visitor.finish(finished);
}

}  // namespace kvcalib
