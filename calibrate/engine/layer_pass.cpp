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

}  // namespace

LayerPass::LayerPass(const WeightDirectory& directory, const PassSettings& settings,
                     Communicator& communicator)
    : layers_(directory.config().layers),
      stream_(
          {
              .config = directory.config(),
              .plan = [&directory](int64_t layer) { return directory.layer_plan(layer); },
              .device = settings.device,
              .compute_type = compute_type(directory.config(), settings.device),
              .reading_threads = settings.reading_threads,
              .trace = settings.trace,
          },
          communicator),
      abort_on_failure_(communicator) {}

void LayerPass::run(LayerVisitor& visitor, int64_t tokens, const ProgressObserver& progress) {
  const Clock::time_point start = Clock::now();
  ToldVisitor told(visitor, [&](int64_t layer) {
    if (!progress) return;
    const std::chrono::duration<double> elapsed = Clock::now() - start;
    progress({layer + 1, layers_, tokens, elapsed.count(), stream_.cost()});
  });
  run_layers(stream_, 0, layers_, told);
}

}  // namespace kvcalib
