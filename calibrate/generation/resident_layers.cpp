// SPDX-License-Identifier: Apache-2.0
#include "calibrate/generation/resident_layers.h"

#include <array>
#include <utility>

#include "calibrate/engine/layer_pass.h"
#include "calibrate/engine/linear.h"
#include "sharding/streaming/device.h"

namespace kvcalib {
namespace {

constexpr std::array kMatrices = {&LayerWeights::qkv, &LayerWeights::output, &LayerWeights::gate_up,
                                  &LayerWeights::down};
constexpr std::array kVectors = {&LayerWeights::attention_norm, &LayerWeights::qkv_bias,
                                 &LayerWeights::output_bias,    &LayerWeights::ffn_norm,
                                 &LayerWeights::query_norm,     &LayerWeights::key_norm,
                                 &LayerWeights::gate_up_bias,   &LayerWeights::down_bias};

// In memory of its own.
LayerWeights kept(const LayerWeights& passing, const c10::Device& device) {
  LayerWeights layer;
  for (const auto matrix : kMatrices)
    layer.*matrix =
        device.is_cpu() ? packed(passing.*matrix) : WeightMatrix((passing.*matrix).whole().clone());
  for (const auto vector : kVectors)
    if ((passing.*vector).defined()) layer.*vector = (passing.*vector).clone();
  return layer;
}

class Keeper final : public LayerVisitor {
 public:
  Keeper(std::vector<LayerWeights>& layers, const c10::Device& device)
      : layers_(layers), device_(device) {}

  void visit(int64_t /*layer*/, const LayerWeights& weights,
             const LayerSource& /*source*/) override {
    layers_.push_back(kept(weights, device_));
  }
  void finish(int64_t /*layer*/) override {}

 private:
  std::vector<LayerWeights>& layers_;
  const c10::Device device_;
};

}  // namespace

ResidentLayers::ResidentLayers(const WeightDirectory& directory, const LayerRange& layers,
                               const PassSettings& settings, Communicator& communicator)
    : device_(settings.device) {
  LayerPass pass(directory, layers, settings, communicator);
  Keeper keeper(layers_, device_);
  pass.run(keeper, 0, {});
  if (device_.is_cuda()) synchronize_gpu(device_);
}

const LayerWeights& ResidentLayers::next() {
  const LayerWeights& layer = layers_[next_];
  next_ = (next_ + 1) % layers_.size();
  return layer;
}

uint64_t resident_layer_bytes(const ModelConfig& config, int64_t layers,
                              const c10::Device& device) {
  const int64_t heads = config.heads * config.head_dim;
  const int64_t columns = heads + 2 * config.kv_heads * config.head_dim;
  const std::array<std::pair<int64_t, int64_t>, 4> shapes = {
      {{config.hidden, columns},
       {heads, config.hidden},
       {config.hidden, 2 * config.intermediate},
       {config.intermediate, config.hidden}}};
  int64_t bytes = 0;
  for (const auto& [rows, out] : shapes)
    bytes += device.is_cpu() ? packed_bytes(rows, out) : 2 * rows * out;
  return static_cast<uint64_t>(layers * bytes);
}

}  // namespace kvcalib
