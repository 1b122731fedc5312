// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/calibration_pass.h"

#include <ATen/Context.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>

#include "calibrate/engine/decoder_layer.h"
#include "calibrate/engine/embedding.h"
#include "sharding/formats/error.h"
#include "sharding/layer_stream.h"

namespace kvcalib {
namespace {

// GPUs compute in the model's own type, CPUs in float32: 16-bit arithmetic there is hundreds of
// times slower.
at::ScalarType compute_type(const ModelConfig& config, const at::Device& device) {
  if (device.is_cpu()) return at::kFloat;
  return config.weight_type == WeightType::kFloat16 ? at::kHalf : at::kBFloat16;
}

at::Tensor to_device(const std::vector<float>& values, at::IntArrayRef shape,
                     const at::Device& device) {
  if (values.empty()) return {};
  return at::from_blob(const_cast<float*>(values.data()), shape, at::kFloat).clone().to(device);
}

// Memory for the layers' observations, [layers, 4, kv_heads, head_dim] and [layers, 3].
struct Observations {
  Observations(const ModelConfig& config, const at::Device& device)
      : ranges(at::full({config.layers, 4, config.kv_heads, config.head_dim},
                        std::numeric_limits<float>::infinity(), at::device(device))),
        faults(at::zeros({config.layers, 3}, at::device(device).dtype(at::kInt))) {
    maxima().fill_(-std::numeric_limits<float>::infinity());
  }

  // [layers, 2, kv_heads, head_dim]: the maxima of K and V.
  at::Tensor maxima() const { return ranges.slice(1, 1, 4, 2); }
  LayerObservation of(int64_t layer) const { return {ranges[layer], faults[layer]}; }

  at::Tensor ranges, faults;
};

// Throws for the first thing in a layer that was not finite.  Waits for the device.
void check_faults(const Observations& observations, int64_t layer) {
  const at::Tensor faults = observations.faults[layer].cpu();
  const int* const found = faults.data_ptr<int>();
  const char* what = nullptr;
  if (found[0] != 0)
    what = "the hidden states before attention_norm";
  else if ((found[2] & 1) != 0)
    what = "K (after bias and RoPE)";
  else if ((found[2] & 2) != 0)
    what = "V (after bias)";
  else if (found[1] != 0)
    what = "the hidden states before ffn_norm";
  if (what == nullptr) return;
  throw Error(concat("layer ", layer, ": NaN or Inf in ", what, "; the model overflows its 16-bit ",
                     "type on this data, or its weights are damaged"));
}

KvStatistics to_statistics(const ModelConfig& config, const at::Tensor& ranges) {
  KvStatistics statistics(config.layers, config.kv_heads, config.head_dim);
  const auto count = static_cast<size_t>(config.kv_heads * config.head_dim);
  const std::array<std::vector<float>*, 4> parts = {
      &statistics.key_minimum, &statistics.key_maximum, &statistics.value_minimum,
      &statistics.value_maximum};
  const at::Tensor host = ranges.cpu().contiguous();
  const float* source = host.data_ptr<float>();
  for (size_t layer = 0; layer < static_cast<size_t>(config.layers); ++layer) {
    for (std::vector<float>* part : parts) {
      for (size_t i = 0; i < count; ++i)
        (*part)[layer * count + i] = *source++ + 0.0F;  // -0 and 0 are one value
    }
  }
  return statistics;
}

// One rank's part of the pass.
class RankPass {
 public:
  RankPass(const TurboMindDirectory& directory, const RuntimeRelease& release,
           const WindowIds& windows, const Communicator& communicator, const PassSettings& settings)
      : config_(directory.config()),
        options_(at::device(settings.device).dtype(compute_type(config_, settings.device))),
        window_(windows.length),
        windows_per_batch_(windows_per_micro_batch(settings.micro_batch_tokens > 0
                                                       ? settings.micro_batch_tokens
                                                       : default_micro_batch(settings.device),
                                                   windows.length)),
        workspace_(config_, std::min(windows_per_batch_, windows.samples) * window_, options_),
        observations_(config_, settings.device) {
    const RotaryTable table = make_rotary_table(config_, release, window_);
    rotary_ = {to_device(table.cosine, {window_, config_.head_dim / 2}, settings.device),
               to_device(table.sine, {window_, config_.head_dim / 2}, settings.device),
               to_device(table.query_scale, {window_}, settings.device)};
    const auto [first, last] = windows_of_rank(windows.samples, windows_per_batch_,
                                               communicator.rank(), communicator.size());
    hidden_ = embed_tokens(directory,
                           windows.ids.subspan(static_cast<size_t>(first * window_),
                                               static_cast<size_t>((last - first) * window_)),
                           options_);
  }

  void run_layer(int64_t layer, const LayerWeights& weights, const LayerStream& stream) {
    const bool last = layer + 1 == config_.layers;
    const int64_t batch = windows_per_batch_ * window_;
    for (int64_t token = 0; token < hidden_.size(0); token += batch) {
      stream.check();  // a micro-batch may take long
      const at::Tensor part = hidden_.narrow(0, token, std::min(batch, hidden_.size(0) - token));
      (last ? observe_keys_and_values : decoder_layer)(config_, weights, rotary_, window_, part,
                                                       workspace_, observations_.of(layer));
    }
  }

  const Observations& observations() const { return observations_; }

 private:
  const ModelConfig config_;
  const at::TensorOptions options_;
  const int64_t window_;
  const int64_t windows_per_batch_;
  LayerWorkspace workspace_;
  Observations observations_;
  RotaryTensors rotary_;
  at::Tensor hidden_;  // [this rank's windows * window, hidden]
};

}  // namespace

int64_t default_micro_batch(const at::Device& device) { return device.is_cpu() ? 2048 : 16384; }

int64_t windows_per_micro_batch(int64_t micro_batch_tokens, int64_t length) {
  return std::max<int64_t>(1, micro_batch_tokens / length);
}

std::pair<int64_t, int64_t> windows_of_rank(int64_t samples, int64_t windows_per_batch,
                                            int64_t rank, int64_t ranks) {
  const int64_t batches = (samples + windows_per_batch - 1) / windows_per_batch;
  const auto first_window = [&](int64_t of_rank) {
    return std::min(samples, batches * of_rank / ranks * windows_per_batch);
  };
  return {first_window(rank), first_window(rank + 1)};
}

MemoryPlan plan_memory(const ModelConfig& config, int64_t samples, int64_t length, int64_t ranks,
                       const PassSettings& settings) {
  const uint64_t element = settings.device.is_cpu() ? 4 : 2;
  const int64_t tokens = settings.micro_batch_tokens > 0 ? settings.micro_batch_tokens
                                                         : default_micro_batch(settings.device);
  const int64_t per_batch = windows_per_micro_batch(tokens, length);
  int64_t most_windows = 0;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    const auto [first, last] = windows_of_rank(samples, per_batch, rank, ranks);
    most_windows = std::max(most_windows, last - first);
  }
  uint64_t layer_elements = 0;
  for (int64_t i = 0; i < kLayerTensors; ++i) {
    const auto [rows, columns] = tensor_shape(config, static_cast<LayerTensor>(i));
    layer_elements += static_cast<uint64_t>(rows * columns);
  }
  const int64_t width = 3 * config.hidden + (config.heads + 2 * config.kv_heads) * config.head_dim +
                        3 * config.intermediate;
  const auto batch_tokens = static_cast<uint64_t>(std::min(per_batch, samples) * length);
  return {layer_elements * (2 + element),
          static_cast<uint64_t>(most_windows * length * config.hidden) * element,
          batch_tokens * static_cast<uint64_t>(width) * element};
}

KvStatistics run_calibration_pass(const TurboMindDirectory& directory,
                                  const RuntimeRelease& release, const WindowIds& windows,
                                  Communicator& communicator, const PassSettings& settings,
                                  const ProgressObserver& progress) {
  const c10::InferenceMode inference;
  at::globalContext().setAllowFP16ReductionCuBLAS(false);
  at::globalContext().setAllowBF16ReductionCuBLAS(false);
  const ModelConfig& config = directory.config();
  LayerStream stream(
      config, [&](int64_t layer) { return directory.layer_plan(layer); }, communicator,
      settings.device, compute_type(config, settings.device), settings.reading_threads);
  const AbortOnFailure abort_on_failure(communicator);  // before the stream's reader is waited for
  RankPass pass(directory, release, windows, communicator, settings);
  const auto start = std::chrono::steady_clock::now();
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    pass.run_layer(layer, stream.next(), stream);
    check_faults(pass.observations(), layer);
    const LayerStream::Progress read = stream.progress();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    if (progress)
      progress({layer + 1, config.layers, windows.samples * windows.length, elapsed.count(),
                read.waited_seconds, read.bytes_read, read.read_seconds});
  }
  const at::Tensor ranges = pass.observations().ranges;
  pass.observations().maxima().neg_();
  communicator.all_reduce_minimum(ranges);
  pass.observations().maxima().neg_();
  return to_statistics(config, ranges);
}

}  // namespace kvcalib
