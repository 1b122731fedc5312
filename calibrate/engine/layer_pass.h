// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

#include "calibrate/engine/pass_plan.h"
#include "calibrate/engine/run_layers.h"
#include "sharding/formats/weight_directory.h"
#include "sharding/ranks/communicator.h"
#include "sharding/streaming/layer_stream.h"
#include "sharding/streaming/pass_progress.h"

namespace kvcalib {

// Told after every layer.
using ProgressObserver = std::function<void(const PassProgress&)>;

// One rank's part in one reading of a model's layers, or of some of them, which all ranks of the
// communicator read together.
class LayerPass {
 public:
  // Takes the memory of two layers and starts to read the first.  Directory and communicator
  // outlive the pass.
  LayerPass(const WeightDirectory& directory, const PassSettings& settings,
            Communicator& communicator);
  LayerPass(const WeightDirectory& directory, const LayerRange& layers,
            const PassSettings& settings, Communicator& communicator);

  // On a GPU: the tensors that every layer will be in.  Before run() they hold whatever was in
  // memory.
  const LayerWeights& unfilled() const { return stream_.unfilled(); }

  // Takes the visitor through the layers, once.  `tokens`: of all ranks, for whom `progress` is
  // told.  Throws what the visitor throws, and Error or PeerLost when a layer does not come.
  void run(LayerVisitor& visitor, int64_t tokens, const ProgressObserver& progress);

 private:
  const LayerRange layers_;
  LayerStream stream_;
  // Goes before the stream, whose reader may be waiting for the other ranks.
  const AbortOnFailure abort_on_failure_;
};

}  // namespace kvcalib
