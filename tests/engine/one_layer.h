// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <memory>

#include "calibrate/engine/compute_type.h"
#include "calibrate/engine/decoder_layer.h"
#include "calibrate/engine/segment_attention.h"
#include "sharding/ranks/make_communicator.h"
#include "sharding/streaming/layer_stream.h"
#include "tests/engine/plain_forward.h"
#include "tests/streaming/plain_directory.h"

namespace kvcalib {

inline constexpr int64_t kWindows = 2, kLength = 24;

// What a layer makes of some tokens of every window.
struct LayerResult {
  at::Tensor hidden;        // [windows, tokens, hidden]
  at::Tensor keys, values;  // as the hook left them, [windows, tokens, kv_heads, head_dim]
};

// The first layer of a small model, for windows that are cut in any way.
class OneLayer {
 public:
  explicit OneLayer(const ModelConfig& model, const at::Device& device = at::kCPU)
      : directory_(folder_.path(), model, PlainDirectory::Order::kEngine),
        options_(at::device(device).dtype(compute_type(model, device))),
        context_(make_layer_context(model, plain_rotation(model), kLength, device, nullptr)),
        workspace_(model, 2 * kWindows * kLength, options_),
        faults_(model.layers, device) {}

  // Of whole windows.
  at::Tensor random_input() const {
    return at::randn({kWindows, kLength, context_.config.hidden}, options_);
  }

  // Tokens [first, last) of the windows `hidden` [windows, length, hidden], behind `earlier`.
  LayerResult run(const at::Tensor& hidden, int64_t first, int64_t last,
                  const LayerResult& earlier = {}) {
    const int64_t length = last - first;
    const at::Tensor part = hidden.narrow(1, first, length).flatten(0, 1).clone();
    LayerResult result{part.view({kWindows, length, -1}), {}, {}};
    const auto keep = [&](const at::Tensor& /*queries*/, const at::Tensor& keys,
                          const at::Tensor& values) {
      keys.mul_(0.5);  // what comes behind attends to what was left here
      result.keys = keys.unflatten(0, {kWindows, length}).clone();
      result.values = values.unflatten(0, {kWindows, length}).clone();
    };
    decoder_layer(
        context_, weights_,
        {.hidden = part,
         .positions = at::arange(first, last, at::kInt).repeat(kWindows).to(hidden.device()),
         .length = length,
         .earlier_keys = earlier.keys,
         .earlier_values = earlier.values},
        workspace_, faults_.of(0), {{}, keep});
    return result;
  }

  // All rows of the segments; K and V [rows, kv_heads, head_dim].
  LayerResult run_segments(const at::Tensor& hidden, const Segments& segments) {
    LayerResult result{hidden.clone(), {}, {}};
    const auto keep = [&](const at::Tensor& /*queries*/, const at::Tensor& keys,
                          const at::Tensor& values) {
      keys.mul_(0.5);
      result.keys = keys.clone();
      result.values = values.clone();
    };
    decoder_layer(context_, weights_,
                  {.hidden = result.hidden, .positions = segments.positions, .segments = &segments},
                  workspace_, faults_.of(0), {{}, keep});
    return result;
  }

 private:
  const c10::InferenceMode inference_;
  const fixture::TemporaryFolder folder_;
  const PlainDirectory directory_;
  const at::TensorOptions options_;
  Rendezvous rendezvous_{Rank{}};
  const std::unique_ptr<Communicator> communicator_ =
      make_communicator({}, options_.device(), rendezvous_);
  LayerStream stream_{{.config = directory_.config(),
                       .plan = [this](int64_t layer) { return directory_.layer_plan(layer); },
                       .device = options_.device(),
                       .compute_type = c10::typeMetaToScalarType(options_.dtype())},
                      *communicator_};
  const LayerWeights& weights_ = stream_.next();
  const LayerContext context_;
  LayerWorkspace workspace_;
  const Faults faults_;
};

}  // namespace kvcalib
