// SPDX-License-Identifier: Apache-2.0
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>

#include "sharding/files/error.h"
#include "sharding/ranks/make_communicator.h"
#include "sharding/ranks/nccl_log.h"
#include "sharding/streaming/device.h"
#include "tests/benchmarks/bench_engine.h"
#include "tests/ranks/rank_threads.h"

namespace kvcalib {
namespace {

// The all-gather of one rank, and nothing else at the same time.
class Gatherer {
 public:
  Gatherer(const Rank& rank, const at::Device& device, Rendezvous& rendezvous, int64_t bytes)
      : device_(device), communicator_(make_communicator(rank, device, rendezvous)) {
    image_ = at::empty({bytes}, at::device(device).dtype(at::kByte)).fill_(rank.index);
  }

  double seconds() {
    communicator_->barrier();
    const auto start = std::chrono::steady_clock::now();
    communicator_->all_gather(image_);
    if (device_.is_cuda()) synchronize_gpu(device_);
    return seconds_since(start);
  }

  Interconnect interconnect() const { return communicator_->interconnect(); }

 private:
  const at::Device device_;
  const std::unique_ptr<Communicator> communicator_;
  at::Tensor image_;
};

at::Device device_of(const EngineBenchmark& benchmark, const Rank& rank) {
  if (benchmark.device.is_cpu()) return benchmark.device;
  const auto index = static_cast<at::DeviceIndex>(rank.index);
  const at::Device gpu(at::kCUDA, index);
  set_gpu(gpu);
  return gpu;
}

}  // namespace

nlohmann::ordered_json benchmark_gather(const EngineBenchmark& benchmark) {
  if (benchmark.device.is_cuda() && benchmark.ranks > gpu_count())
    throw Error(concat("--ranks ", benchmark.ranks, ": there are ", gpu_count(), " GPUs"));
  prepare_nccl();
  const int64_t bytes = benchmark.bytes / benchmark.ranks * benchmark.ranks;
  std::vector<double> seconds;
  Interconnect interconnect;
  run_rank_threads(benchmark.ranks, [&](const Rank& rank, Rendezvous& rendezvous) {
    const c10::InferenceMode inference;
    Gatherer gatherer(rank, device_of(benchmark, rank), rendezvous, bytes);
    gatherer.seconds();  // connects the ranks
    for (int64_t turn = 0; turn < benchmark.repeat; ++turn) {
      const double taken = gatherer.seconds();
      if (rank.index == 0) seconds.push_back(taken);
    }
    if (rank.index == 0) interconnect = gatherer.interconnect();
  });
  const auto received = static_cast<double>(bytes / benchmark.ranks * (benchmark.ranks - 1));
  return {{"benchmark", "gather"},
          {"device", benchmark.device.is_cuda() ? "cuda" : "cpu"},
          {"ranks", benchmark.ranks},
          {"bytes", bytes},
          {"interconnect", format(interconnect)},
          {"seconds", median(seconds)},
          {"gigabytes_per_second", received / median(seconds) / 1e9},  // that a rank receives
          {"seconds_in_each_turn", seconds}};
}

}  // namespace kvcalib
