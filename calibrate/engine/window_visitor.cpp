// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/window_visitor.h"

#include <ATen/ops/arange.h>

#include <algorithm>
#include <utility>

namespace kvcalib {

WindowVisitor::WindowVisitor(LayerContext context, const WindowBatches& batches, WindowState state,
                             WindowWork work)
    : context_(std::move(context)),
      batches_(batches),
      positions_(at::arange(batches.tokens, at::dtype(at::kInt))
                     .remainder(batches.length)
                     .to(state.hidden.device())),
      work_(std::move(work)),
      workspace_(context_.config, batches.tokens, state.hidden.options()),
      faults_(context_.config.layers, state.hidden.device()),
      state_(std::move(state)) {}

void WindowVisitor::warm_up(const LayerWeights& weights) {
  const int64_t tokens = state_.hidden.size(0);
  const int64_t rest = tokens % batches_.tokens;
  for (const int64_t count : {std::min(batches_.tokens, tokens), rest}) {
    if (count == 0) continue;
    for (const int64_t layer : {int64_t{0}, context_.config.layers - 1})
      run_micro_batch(layer, weights, {hook_of(layer).ranges, {}}, tokens - count);
  }
  faults_.reset();
}

void WindowVisitor::visit(int64_t layer, const LayerWeights& weights, const LayerSource& source) {
  const DeviceSpan span(context_.trace, "layers", "layer", layer);
  if (work_.begin) work_.begin(layer, weights);
  for (int64_t token = 0; token < state_.hidden.size(0); token += batches_.tokens) {
    source.check();
    run_micro_batch(layer, weights, hook_of(layer), token);
  }
  faults_.close(layer);
  state_.next_layer = layer + 1;
}

void WindowVisitor::finish(int64_t layer) { faults_.wait_for(layer); }

KvHook WindowVisitor::hook_of(int64_t layer) const {
  return work_.hook ? work_.hook(layer) : KvHook{};
}

void WindowVisitor::run_micro_batch(int64_t layer, const LayerWeights& weights, const KvHook& hook,
                                    int64_t token) {
  const int64_t tokens = std::min(batches_.tokens, state_.hidden.size(0) - token);
  const TokenBlock block{.hidden = state_.hidden.narrow(0, token, tokens),
                         .positions = positions_.narrow(0, 0, tokens),
                         .length = batches_.length,
                         .earlier_keys = {},
                         .earlier_values = {}};
  const bool ends_here = layer + 1 == context_.config.layers && !work_.output;
  const auto run = !ends_here ? decoder_layer : work_.begin ? queries_keys_values : keys_and_values;
  run(context_, weights, block, workspace_, faults_.of(layer), hook);
}

}  // namespace kvcalib
