// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "calibrate/engine/cache_quantizer.h"
#include "calibrate/engine/decoder_layer.h"
#include "calibrate/engine/faults.h"
#include "calibrate/engine/profile_meter.h"
#include "calibrate/engine/run_layers.h"
#include "calibrate/engine/segment_attention.h"
#include "calibrate/engine/stream_rows.h"

namespace kvcalib {

// Rows of trees that run through a layer together.
struct RowBlock {
  int64_t first_row = 0;
  Segments segments;
};

// Tokens on their way through the layers with one format of the cache.
struct VisitingStream {
  CacheQuantizer* quantizer;  // outlives the visitor
  StreamRows rows;            // the layers' input, then their output
};

// Takes several streams of the same tokens through the layers, a block after the other: one
// reading of the weights, and products of the same shapes, serve them all.
class StreamVisitor final : public LayerVisitor {
 public:
  // The first stream has all rows.  A block's rows are all a stream's or none.  The meter outlives
  // the visitor.
  StreamVisitor(LayerContext context, std::vector<RowBlock> blocks,
                std::vector<VisitingStream> streams, ProfileMeter& meter);

  // Puts the work of blocks onto the GPU, one of every kind, with weights and activations that need
  // not be there yet.
  void warm_up(const LayerWeights& weights);
  // Throws what the source does when asked before each block.
  void visit(int64_t layer, const LayerWeights& weights, const LayerSource& source) override;
  // Throws Error naming stream and layer when activations are not finite.
  void finish(int64_t layer) override;

 private:
  // Takes one stream's rows of a block through a layer.  has_qkv: see TokenBlock.
  void run_block(int64_t layer, const LayerWeights& weights, const RowBlock& block, size_t stream,
                 bool has_qkv);

  const LayerContext context_;
  const std::vector<RowBlock> blocks_;
  const std::vector<VisitingStream> streams_;
  ProfileMeter& meter_;
  LayerWorkspace workspace_;
  std::vector<Faults> faults_;  // by stream
};

}  // namespace kvcalib
