// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

#include "calibrate/engine/decoder_layer.h"
#include "calibrate/engine/faults.h"
#include "calibrate/engine/run_layers.h"

namespace kvcalib {

// Where windows stand on their way through the layers: a run goes on from here with any source that
// hands out next_layer next.
struct WindowState {
  int64_t next_layer = 0;
  at::Tensor hidden;  // [windows * length, hidden], its input
};

// Windows that all begin at position 0, and how many of them run together.
struct WindowBatches {
  int64_t length = 0;  // tokens of a window
  int64_t tokens = 0;  // of a micro-batch, whole windows
};

// What is wanted of windows on their way.
struct WindowWork {
  std::function<KvHook(int64_t layer)> hook = nullptr;  // null: nothing is done with K and V
  bool output = false;                                  // of the last layer: else K and V end it
  // Told of each layer before its micro-batches, the first window first.  Null: nobody is, and the
  // hook gets no queries in a last layer that K and V end.
  std::function<void(int64_t layer, const LayerWeights& weights)> begin = nullptr;
};

// Takes windows of tokens through the layers, a micro-batch after the other.
class WindowVisitor final : public LayerVisitor {
 public:
  // `context` is for positions of a whole window.
  WindowVisitor(LayerContext context, const WindowBatches& batches, WindowState state,
                WindowWork work);

  // Puts every shape of micro-batch that will come onto the GPU, with weights and activations that
  // need not be there yet: ranges are widened by whatever comes of them, no hook's function is
  // called.
  void warm_up(const LayerWeights& weights);
  // Throws what the source does when asked before each micro-batch.
  void visit(int64_t layer, const LayerWeights& weights, const LayerSource& source) override;
  // Throws Error naming the layer when activations are not finite.
  void finish(int64_t layer) override;

  const WindowState& state() const { return state_; }

 private:
  KvHook hook_of(int64_t layer) const;
  void run_micro_batch(int64_t layer, const LayerWeights& weights, const KvHook& hook,
                       int64_t token);

  const LayerContext context_;
  const WindowBatches batches_;
  const at::Tensor positions_;  // of a micro-batch
  const WindowWork work_;
  LayerWorkspace workspace_;
  Faults faults_;
  WindowState state_;
};

}  // namespace kvcalib
