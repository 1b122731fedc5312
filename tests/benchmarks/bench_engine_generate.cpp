// SPDX-License-Identifier: Apache-2.0
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <random>

#include "calibrate/engine/compute_type.h"
#include "calibrate/generation/generator.h"
#include "calibrate/generation/stream_cache.h"
#include "sharding/formats/turbomind_directory.h"
#include "sharding/ranks/make_communicator.h"
#include "sharding/streaming/device.h"
#include "tests/benchmarks/bench_engine.h"
#include "tests/generation/even_int8.h"

namespace kvcalib {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

// The best of a few copies within the device's memory: bytes read and written per second.
double copy_rate(const c10::Device& device) {
  const c10::InferenceMode inference;
  const int64_t bytes = device.is_cpu() ? int64_t{1} << 28 : int64_t{1} << 31;
  const at::Tensor from = at::zeros({bytes}, at::device(device).dtype(at::kByte));
  const at::Tensor to = at::empty_like(from);
  constexpr int kCopies = 5;
  double best = 0;
  for (int turn = 0; turn < kCopies; ++turn) {
    if (device.is_cuda()) synchronize_gpu(device);
    const Clock::time_point start = Clock::now();
    to.copy_(from);
    if (device.is_cuda()) synchronize_gpu(device);
    best = std::max(best, 2.0 * static_cast<double>(bytes) / seconds_since(start));
  }
  return best;
}

std::vector<GenerationPrompt> random_prompts(int64_t count, int64_t length, int64_t most_new,
                                             int64_t vocab) {
  std::mt19937 random(0);
  std::vector<GenerationPrompt> prompts;
  for (int64_t i = 0; i < count; ++i) {
    std::vector<int32_t>& ids = prompts.emplace_back(GenerationPrompt{{}, most_new}).ids;
    for (int64_t token = 0; token < length; ++token)
      ids.push_back(static_cast<int32_t>(random() % static_cast<uint64_t>(vocab)));
  }
  return prompts;
}

uint64_t most_memory(const c10::Device& device) {
  return device.is_cpu() ? uint64_t{1} << 34 : gpu_memory().total_bytes / 20 * 19;
}

// Prompts of one length, which all decode together.
class GenerateRunner {
 public:
  explicit GenerateRunner(const EngineBenchmark& benchmark)
      : benchmark_(benchmark),
        directory_(TurboMindDirectory::open(benchmark.weights)),
        prompts_(random_prompts(benchmark.windows, benchmark.length, benchmark.most_new,
                                directory_.config().vocab)),
        rendezvous_({}),
        communicator_(make_communicator({}, benchmark.device, rendezvous_)),
        copy_rate_(copy_rate(benchmark.device)) {}

  Json run(const char* name, bool sixteen_bits, bool int8) {
    const ModelConfig& config = directory_.config();
    const c10::Device device = benchmark_.device;
    GenerationSettings settings;
    if (sixteen_bits) settings.streams.push_back({"16 bits", {}});
    if (int8) settings.streams.push_back({"int8", even_int8(config, 0.05f)});
    const StreamCounts counts{int8 ? 1 : 0, sixteen_bits ? 1 : 0};
    const GenerationPlan plan = plan_generation(
        config, prompts_, {counts, device, stored_layer_bytes(directory_), most_memory(device)},
        WeightPlace::kEveryDevice);
    const PassSettings pass{.device = device, .reading_threads = benchmark_.reading_threads};
    Generator generator(directory_, settings, pass, *communicator_);
    const Rotation rotation{frequencies_of(config.rope_theta, config.head_dim), 1.0, {}};
    std::vector<double> steps, prefills;
    for (int64_t turn = 0; turn <= benchmark_.repeat; ++turn) {  // the first one warms up
      std::vector<double> times;
      const Clock::time_point start = Clock::now();
      const GenerationGroup group{prompts_, plan};
      generator.run({&group, 1}, rotation, plan.length, {},
                    [&](const GenerationProgress&) { times.push_back(seconds_since(start)); });
      if (turn == 0) continue;
      const auto new_tokens = static_cast<size_t>(benchmark_.most_new);
      prefills.push_back(times[times.size() - new_tokens]);
      for (size_t i = times.size() - new_tokens + 1; i < times.size(); ++i)
        steps.push_back(times[i] - times[i - 1]);
    }
    return report(name, plan, counts, median(steps), median(prefills));
  }

 private:
  // What a step reads, in the middle of them, and at what rate.
  Json report(const char* name, const GenerationPlan& plan, const StreamCounts& counts,
              double step_seconds, double prefill_seconds) const {
    const ModelConfig& config = directory_.config();
    const auto element = benchmark_.device.is_cpu() ? 4 : 2;
    const auto head = static_cast<double>(config.vocab * config.hidden * element);
    const auto weights =
        static_cast<double>(resident_layer_bytes(config, config.layers, benchmark_.device)) + head;
    const double keys =
        static_cast<double>(benchmark_.length) + static_cast<double>(benchmark_.most_new) / 2;
    double cache = 0;
    for (const bool int8 : {false, true})
      cache +=
          static_cast<double>(int8 ? counts.int8 : counts.sixteen_bits) *
          static_cast<double>(plan.rows) * keys / kBlockTokens *
          static_cast<double>(cache_block_bytes(config, config.layers, int8, benchmark_.device));
    const double floor = (weights + cache) / copy_rate_;
    return {{"streams", name},
            {"rows_of_each", plan.rows},
            {"keys", keys},
            {"prefill_seconds", prefill_seconds},
            {"step_seconds", step_seconds},
            {"floor_seconds", floor},
            {"of_floor", floor / step_seconds},
            {"tokens_per_second", static_cast<double>(plan.rows * counts.all()) / step_seconds},
            {"weight_gigabytes", weights / 1e9},
            {"cache_gigabytes", cache / 1e9},
            {"copy_gigabytes_per_second", copy_rate_ / 1e9}};
  }

  const EngineBenchmark benchmark_;
  const TurboMindDirectory directory_;
  const std::vector<GenerationPrompt> prompts_;
  Rendezvous rendezvous_;
  const std::unique_ptr<Communicator> communicator_;
  const double copy_rate_;
};

}  // namespace

Json benchmark_generate(const EngineBenchmark& benchmark) {
  GenerateRunner runner(benchmark);
  return {{"prompts", benchmark.windows},
          {"prompt_tokens", benchmark.length},
          {"new_tokens", benchmark.most_new},
          {"runs",
           {runner.run("16 bits", true, false), runner.run("int8", false, true),
            runner.run("both", true, true)}}};
}

}  // namespace kvcalib
