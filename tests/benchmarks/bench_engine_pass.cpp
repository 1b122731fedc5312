// SPDX-License-Identifier: Apache-2.0
#include <ATen/ops/empty.h>

#include <random>

#include "calibrate/engine/calibration_pass.h"
#include "calibrate/engine/compute_type.h"
#include "calibrate/engine/embedding.h"
#include "sharding/formats/turbomind_directory.h"
#include "sharding/ranks/make_communicator.h"
#include "sharding/streaming/device.h"
#include "tests/benchmarks/bench_engine.h"

namespace kvcalib {
namespace {

std::vector<int32_t> random_ids(int64_t count, int64_t vocab) {
  std::mt19937 generator(0);
  std::uniform_int_distribution<int32_t> distribution(0, static_cast<int32_t>(vocab - 1));
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (int32_t& id : ids) id = distribution(generator);
  return ids;
}

// Runs passes over the same windows, with and without the observer.
class PassRunner {
 public:
  explicit PassRunner(const EngineBenchmark& benchmark)
      : directory_(TurboMindDirectory::open(benchmark.weights)),
        windows_(benchmark.windows),
        length_(benchmark.length),
        ids_(random_ids(windows_ * length_, directory_.config().vocab)),
        rendezvous_({}),
        communicator_(make_communicator({}, benchmark.device, rendezvous_)) {
    settings_.device = benchmark.device;
    settings_.micro_batch_tokens = benchmark.micro_batch_tokens;
    settings_.reading_threads = benchmark.reading_threads;
  }

  // Where the pass stood after its last layer.
  PassProgress run_observed() {
    PassProgress reached;
    CalibrationPass(directory_, {rotation(), windows_, length_}, settings_, *communicator_)
        .run(ids_, [&reached](const PassProgress& progress) { reached = progress; });
    return reached;
  }

  // The seconds from the first layer to the last where nobody looks at K and V.
  double run_unobserved() {
    const c10::InferenceMode inference;
    const ModelConfig& config = directory_.config();
    const at::ScalarType type = compute_type(config, settings_.device);
    LayerStream stream({.config = config,
                        .plan = [this](int64_t layer) { return directory_.layer_plan(layer); },
                        .device = settings_.device,
                        .compute_type = type,
                        .reading_threads = settings_.reading_threads},
                       *communicator_);
    const at::Tensor hidden =
        at::empty({windows_ * length_, config.hidden}, at::device(settings_.device).dtype(type));
    const int64_t batch = micro_batch_windows() * length_;
    WindowVisitor visitor(
        make_layer_context(config, rotation(), length_, settings_.device, nullptr),
        {length_, batch}, {0, hidden}, {});
    if (settings_.device.is_cuda()) {
      visitor.warm_up(stream.unfilled());
      synchronize_gpu(settings_.device);
    }
    embed_tokens(directory_, ids_, hidden);
    const auto start = std::chrono::steady_clock::now();
    run_layers(stream, {0, config.layers}, visitor);
    return seconds_since(start);
  }

  int64_t layers() const { return directory_.config().layers; }
  int64_t micro_batch_windows() const {
    return std::min(windows_, windows_per_micro_batch(settings_, length_));
  }

 private:
  Rotation rotation() const {
    return {frequencies_of(directory_.config().rope_theta, directory_.config().head_dim), 1.0, {}};
  }

  const TurboMindDirectory directory_;
  const int64_t windows_, length_;
  const std::vector<int32_t> ids_;
  Rendezvous rendezvous_;
  const std::unique_ptr<Communicator> communicator_;
  PassSettings settings_;
};

}  // namespace

nlohmann::ordered_json benchmark_pass(const EngineBenchmark& benchmark) {
  PassRunner runner(benchmark);
  if (benchmark.device.is_cuda()) runner.run_observed();  // clock rates settle
  std::vector<double> observed, unobserved, costs, waited, read;
  PassProgress last;
  for (int64_t turn = 0; turn < benchmark.repeat; ++turn) {
    for (const bool observe : {turn % 2 == 0, turn % 2 != 0}) {  // neither is always the first
      if (!observe) {
        unobserved.push_back(runner.run_unobserved());
        continue;
      }
      const PassProgress reached = runner.run_observed();
      observed.push_back(reached.seconds);
      waited.push_back(reached.reading.waited_seconds);
      read.push_back(reached.reading.read_seconds);
      last = reached;
    }
    costs.push_back(observed.back() / unobserved.back() - 1);
  }
  return {{"benchmark", "pass"},
          {"device", benchmark.device.str()},
          {"layers", runner.layers()},
          {"windows", benchmark.windows},
          {"length", benchmark.length},
          {"micro_batch_windows", runner.micro_batch_windows()},
          {"reading_threads", benchmark.reading_threads},
          {"observed_seconds", median(observed)},
          {"unobserved_seconds", median(unobserved)},
          {"observer_cost", median(costs)},  // of a turn's two passes
          {"waited_seconds", median(waited)},
          {"read_seconds", median(read)},
          {"bytes_read", last.reading.bytes_read},
          {"observed_seconds_in_each_turn", observed},
          {"unobserved_seconds_in_each_turn", unobserved}};
}

}  // namespace kvcalib
