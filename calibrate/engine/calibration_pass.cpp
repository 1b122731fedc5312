// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/calibration_pass.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "calibrate/engine/compute_type.h"
#include "calibrate/engine/embedding.h"
#include "sharding/streaming/device.h"

namespace kvcalib {
namespace {

constexpr const char* kTrack = "layers";

}  // namespace

CalibrationPass::CalibrationPass(const WeightDirectory& directory, const PassWindows& windows,
                                 const PassSettings& settings, Communicator& communicator)
    : CalibrationPass(directory, windows, settings, communicator, c10::InferenceMode()) {}

CalibrationPass::CalibrationPass(const WeightDirectory& directory, const PassWindows& windows,
                                 const PassSettings& settings, Communicator& communicator,
                                 const c10::InferenceMode& /*mode*/)
    : directory_(directory),
      windows_(windows),
      settings_(settings),
      communicator_(communicator),
      batch_tokens_(std::min(windows_per_micro_batch(settings, windows.length), windows.samples) *
                    windows.length),
      own_(windows_of_rank(windows.samples, batch_tokens_ / windows.length, communicator.rank(),
                           communicator.size())),
      layers_(directory, settings, communicator),
      observer_(directory.config(), settings.device),
      histograms_(windows.histograms ? std::optional<HistogramObserver>(
                                           std::in_place, directory.config(),
                                           OwnWindows{own_.first, windows.samples, windows.length},
                                           settings.device)
                                     : std::nullopt),
      visitor_(make_context(), {windows.length, batch_tokens_}, make_state(), make_work()) {
  if (settings.device.is_cuda()) warm_up();
}

LayerContext CalibrationPass::make_context() const {
  return make_layer_context(directory_.config(), windows_.rotation, windows_.length,
                            settings_.device, settings_.trace);
}

WindowState CalibrationPass::make_state() const {
  const ModelConfig& config = directory_.config();
  return {0, at::empty({(own_.second - own_.first) * windows_.length, config.hidden},
                       at::device(settings_.device).dtype(compute_type(config, settings_.device)))};
}

WindowWork CalibrationPass::make_work() {
  if (!histograms_) return {.hook = [this](int64_t layer) { return observer_.hook(layer); }};
  return {.hook =
              [this](int64_t layer) {
                KvHook hook = observer_.hook(layer);
                hook.function = [this](const at::Tensor& queries, const at::Tensor& keys,
                                       const at::Tensor& values) {
                  histograms_->observe(queries, keys, values);
                };
                return hook;
              },
          .begin = [this](int64_t layer,
                          const LayerWeights& weights) { histograms_->begin(layer, weights); }};
}

void CalibrationPass::warm_up() {
  const HostSpan span(settings_.trace, kTrack, "warm-up");
  visitor_.warm_up(layers_.unfilled());
  observer_.reset();
  synchronize_gpu(settings_.device);
}

KvStatistics CalibrationPass::run(std::span<const int32_t> ids, const ProgressObserver& progress) {
  const c10::InferenceMode inference;
  TORCH_CHECK(static_cast<int64_t>(ids.size()) == windows_.samples * windows_.length, "expected ",
              windows_.samples * windows_.length, " token ids");
  {
    const HostSpan span(settings_.trace, kTrack, "embedding");
    embed_tokens(directory_,
                 ids.subspan(static_cast<size_t>(own_.first * windows_.length),
                             static_cast<size_t>((own_.second - own_.first) * windows_.length)),
                 visitor_.state().hidden);
  }
  layers_.run(visitor_, windows_.samples * windows_.length, progress);
  KvStatistics statistics = observer_.merged(communicator_);
  if (histograms_) histograms_->merge_into(statistics, communicator_);
  communicator_.barrier();
  return statistics;
}

}  // namespace kvcalib
