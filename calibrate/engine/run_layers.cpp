// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/run_layers.h"

namespace kvcalib {

void run_layers(LayerSource& source, const LayerRange& layers, LayerVisitor& visitor) {
  const int64_t late = source.device().is_cpu() ? 0 : 1;
  int64_t finished = layers.first;
  for (int64_t layer = layers.first; layer < layers.last; ++layer) {
    visitor.visit(layer, source.next(), source);
    for (; finished <= layer - late; ++finished) visitor.finish(finished);
  }
  for (; finished < layers.last; ++finished) visitor.finish(finished);
}

}  // namespace kvcalib
