// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/calibration_pass.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDAFunctions.h>

#include <algorithm>
#include <chrono>

#include "calibrate/engine/decoder_layer.h"
#include "calibrate/engine/embedding.h"
#include "calibrate/engine/observations.h"
#include "calibrate/engine/rotary_table.h"
#include "sharding/streaming/layer_stream.h"

namespace kvcalib {
namespace {

constexpr const char* kTrack = "layers";

// GPUs compute in the model's own type, CPUs in float32: 16-bit arithmetic there is hundreds of
// times slower.
at::ScalarType compute_type(const ModelConfig& config, const at::Device& device) {
  if (device.is_cpu()) return at::kFloat;
  return scalar_type(element_type(config.weight_type));
}

at::Tensor to_device(const std::vector<float>& values, at::IntArrayRef shape,
                     const at::Device& device) {
  if (values.empty()) return {};
  return at::from_blob(const_cast<float*>(values.data()), shape, at::kFloat).clone().to(device);
}

LayerContext make_context(const ModelConfig& config, const Rotation& rotation, int64_t window,
                          const PassSettings& settings) {
  const RotaryTable table = make_rotary_table(rotation, window);
  const RotaryTensors rotary = {
      to_device(table.cosine, {window, config.head_dim / 2}, settings.device),
      to_device(table.sine, {window, config.head_dim / 2}, settings.device),
      to_device(rotation.query_scale, {window}, settings.device)};
  return {config, rotary, window, settings.trace};
}

}  // namespace

class CalibrationPass::RankPass {
 public:
  RankPass(const WeightDirectory& directory, const Rotation& rotation, int64_t samples,
           int64_t length, Communicator& communicator, const PassSettings& settings)
      : directory_(directory),
        communicator_(communicator),
        settings_(settings),
        tokens_(samples * length),
        context_(make_context(directory.config(), rotation, length, settings)),
        stream_(
            context_.config, [&](int64_t layer) { return directory.layer_plan(layer); },
            communicator, settings.device, compute_type(context_.config, settings.device),
            settings.reading_threads, settings.trace),
        abort_on_failure_(communicator),
        batch_tokens_(std::min(windows_per_micro_batch(settings, length), samples) * length),
        workspace_(context_.config, batch_tokens_, options()),
        observations_(context_.config, settings.device, settings.observe) {
    std::tie(first_, last_) =
        windows_of_rank(samples, batch_tokens_ / length, communicator.rank(), communicator.size());
    hidden_ = at::empty({(last_ - first_) * length, context_.config.hidden}, options());
    if (settings.device.is_cuda()) warm_up();
  }

  void run(std::span<const int32_t> ids, const ProgressObserver& progress) {
    TORCH_CHECK(static_cast<int64_t>(ids.size()) == tokens_, "expected ", tokens_, " token ids");
    {
      const HostSpan span(settings_.trace, kTrack, "embedding");
      embed_tokens(directory_,
                   ids.subspan(static_cast<size_t>(first_ * context_.window),
                               static_cast<size_t>((last_ - first_) * context_.window)),
                   hidden_);
    }
    start_ = Clock::now();
    const int64_t layers = context_.config.layers;
    for (int64_t layer = 0; layer < layers; ++layer) {
      run_layer(layer);
      // On a GPU one layer late, so that it always has the next one before it.
      const int64_t late = settings_.device.is_cuda() ? 1 : 0;
      if (layer >= late) finish_layer(layer - late, progress);
    }
    if (settings_.device.is_cuda()) finish_layer(layers - 1, progress);
  }

  KvStatistics statistics() { return observations_.merged(communicator_); }

 private:
  using Clock = std::chrono::steady_clock;

  at::TensorOptions options() const {
    return at::device(settings_.device).dtype(compute_type(context_.config, settings_.device));
  }

  void run_layer(int64_t layer) {
    const LayerWeights& weights = stream_.next();
    const DeviceSpan span(settings_.trace, kTrack, "layer", layer);
    for (int64_t token = 0; token < hidden_.size(0); token += batch_tokens_) {
      stream_.check();  // a micro-batch may take long
      run_micro_batch(layer, weights, token);
    }
    observations_.close(layer);
  }

  void run_micro_batch(int64_t layer, const LayerWeights& weights, int64_t token) {
    const at::Tensor part =
        hidden_.narrow(0, token, std::min(batch_tokens_, hidden_.size(0) - token));
    const bool last = layer + 1 == context_.config.layers;
    (last ? observe_keys_and_values : decoder_layer)(context_, weights, part, workspace_,
                                                     observations_.of(layer));
  }

  void finish_layer(int64_t layer, const ProgressObserver& progress) {
    observations_.wait_for(layer);
    if (!progress) return;
    const std::chrono::duration<double> elapsed = Clock::now() - start_;
    progress({layer + 1, context_.config.layers, tokens_, elapsed.count(), stream_.cost()});
  }

  // Runs every shape of micro-batch that will come, on weights and activations that are not there
  // yet.
  void warm_up() {
    const HostSpan span(settings_.trace, kTrack, "warm-up");
    const int64_t rest = hidden_.size(0) % batch_tokens_;
    for (const int64_t tokens : {std::min(batch_tokens_, hidden_.size(0)), rest}) {
      if (tokens == 0) continue;
      for (const int64_t layer : {int64_t{0}, context_.config.layers - 1})
        run_micro_batch(layer, stream_.unfilled(), hidden_.size(0) - tokens);
    }
    observations_.reset();
    c10::cuda::device_synchronize();
  }

  const WeightDirectory& directory_;
  Communicator& communicator_;
  const PassSettings settings_;
  const int64_t tokens_;  // of all ranks
  const LayerContext context_;
  LayerStream stream_;
  // Goes before the stream, whose reader may be waiting for the other ranks.
  const AbortOnFailure abort_on_failure_;
  const int64_t batch_tokens_;
  LayerWorkspace workspace_;
  Observations observations_;
  int64_t first_ = 0, last_ = 0;  // this rank's windows
  at::Tensor hidden_;             // [(last_ - first_) * window, hidden]
  Clock::time_point start_;
};

CalibrationPass::CalibrationPass(const WeightDirectory& directory, const Rotation& rotation,
                                 int64_t samples, int64_t length, Communicator& communicator,
                                 const PassSettings& settings) {
  const c10::InferenceMode inference;
  rank_pass_ =
      std::make_unique<RankPass>(directory, rotation, samples, length, communicator, settings);
}

CalibrationPass::~CalibrationPass() = default;

KvStatistics CalibrationPass::run(std::span<const int32_t> ids, const ProgressObserver& progress) {
  const c10::InferenceMode inference;
  rank_pass_->run(ids, progress);
  return rank_pass_->statistics();
}

void CalibrationPass::run_unobserved(std::span<const int32_t> ids,
                                     const ProgressObserver& progress) {
  const c10::InferenceMode inference;
  rank_pass_->run(ids, progress);
}

KvStatistics run_calibration_pass(const WeightDirectory& directory, const Rotation& rotation,
                                  const WindowIds& windows, Communicator& communicator,
                                  const PassSettings& settings, const ProgressObserver& progress) {
  return CalibrationPass(directory, rotation, windows.samples, windows.length, communicator,
                         settings)
      .run(windows.ids, progress);
}

}  // namespace kvcalib
