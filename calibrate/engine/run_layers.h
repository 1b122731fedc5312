// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "sharding/streaming/layer_source.h"

namespace kvcalib {

// Layers [first, last) of a model.
struct LayerRange {
  int64_t first = 0, last = 0;

  int64_t count() const { return last - first; }
};

// Who works with the layers as they come, on one or several streams of tokens.
class LayerVisitor {
 public:
  virtual ~LayerVisitor() = default;

  // Works with a layer, whose weights are there until the next visit; on a GPU the work may only be
  // put onto the current stream.  Who takes long asks the source, which they come from, now and
  // then whether there will be a next layer.
  virtual void visit(int64_t layer, const LayerWeights& weights, const LayerSource& source) = 0;
  // Waits until the device is through with a layer.  On a GPU called one layer late, so that it
  // always has the next one before it.
  virtual void finish(int64_t layer) = 0;
};

// Takes the visitor through layers, of which the source hands out the first one next.
void run_layers(LayerSource& source, const LayerRange& layers, LayerVisitor& visitor);

}  // namespace kvcalib
