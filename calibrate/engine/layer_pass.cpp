// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/layer_pass.h"

#include <chrono>

#include "calibrate/engine/compute_type.h"

namespace kvcalib {
namespace {

using Clock = std::chrono::steady_clock;

// Tells of every layer that another visitor is through with.
class ToldVisitor final : public LayerVisitor {
 public:
  ToldVisitor(LayerVisitor& visitor, std::function<void(int64_t layer)> tell)
      : visitor_(visitor), tell_(std::move(tell)) {}

  void visit(int64_t layer, const LayerWeights& weights, const LayerSource& source) override {
    visitor_.visit(layer, weights, source);
  }
  void finish(int64_t layer) override {
    visitor_.finish(layer);
    tell_(layer);
  }

 private:
  LayerVisitor& visitor_;
  const std::function<void(int64_t layer)> tell_;
};

// Of a model that ends with the last of these layers.
ModelConfig config_until(ModelConfig config, const LayerRange& layers) {
  config.layers = layers.last;
  return config;
}

}  // namespace

LayerPass::LayerPass(const WeightDirectory& directory, const PassSettings& settings,
                     Communicator& communicator)
    : LayerPass(directory, {0, directory.config().layers}, settings, communicator) {}

LayerPass::LayerPass(const WeightDirectory& directory, const LayerRange& layers,
                     const PassSettings& settings, Communicator& communicator)
    : layers_(layers),
      stream_(
          {
              .config = config_until(directory.config(), layers),
              .plan = [&directory](int64_t layer) { return directory.layer_plan(layer); },
              .device = settings.device,
              .compute_type = compute_type(directory.config(), settings.device),
              .reading_threads = settings.reading_threads,
              .first_layer = layers.first,
              .trace = settings.trace,
          },
          communicator),
      abort_on_failure_(communicator) {}

void LayerPass::run(LayerVisitor& visitor, int64_t tokens, const ProgressObserver& progress) {
  const Clock::time_point start = Clock::now();
  ToldVisitor told(visitor, [&](int64_t layer) {
    if (!progress) return;
    const std::chrono::duration<double> elapsed = Clock::now() - start;
    progress({layer + 1, layers_.last, tokens, elapsed.count(), stream_.cost()});
  });
  run_layers(stream_, layers_, told);
}

}  // namespace kvcalib
