// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/range_observer.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <limits>

#include "kernels/pair_reach.h"

namespace kvcalib {
namespace {

static_assert(kReachDirections == kernels::kReachDirections);

constexpr float kInfinity = std::numeric_limits<float>::infinity();

RangeTensors make_ranges(const ModelConfig& config, const at::Device& device) {
  const auto make = [&] {
    return at::empty({config.layers, config.kv_heads, config.head_dim}, at::device(device));
  };
  return {make(), make()};
}

void fill(std::vector<float>& values, const at::Tensor& found) {
  const at::Tensor host = found.cpu();
  const float* const first = host.const_data_ptr<float>();
  std::transform(first, first + host.numel(), values.begin(),
                 [](float value) { return value + 0.0F; });  // -0 and 0 are one value
}

std::vector<float> merged_reach(const at::Tensor& own, Communicator& communicator) {
  const at::Tensor negated = own.neg();
  communicator.all_reduce_minimum(negated);
  std::vector<float> merged(static_cast<size_t>(own.numel()));
  fill(merged, negated.neg().permute({0, 2, 3, 1}).contiguous());
  return merged;
}

TensorStatistics merged_ranges(const RangeTensors& own, TensorStatistics merged,
                               Communicator& communicator) {
  const at::Tensor negated = own.maximum.neg();
  communicator.all_reduce_minimum(own.minimum);
  communicator.all_reduce_minimum(negated);
  fill(merged.minimum, own.minimum);
  fill(merged.maximum, negated.neg());
  return merged;
}

}  // namespace

RangeObserver::RangeObserver(const ModelConfig& config, const at::Device& device)
    : config_(config),
      ranges_{make_ranges(config, device), make_ranges(config, device)},
      reach_(at::empty({config.layers, kReachDirections, config.kv_heads, config.head_dim / 2},
                       at::device(device))) {
  reset();
}

KvHook RangeObserver::hook(int64_t layer) const {
  const auto of_layer = [layer](const RangeTensors& ranges) -> RangeTensors {
    return {ranges.minimum[layer], ranges.maximum[layer]};
  };
  KvHook hook;
  hook.ranges = {of_layer(ranges_.keys), of_layer(ranges_.values)};
  hook.reach = reach_[layer];
  return hook;
}

void RangeObserver::reset() {
  for (const RangeTensors& ranges : {ranges_.keys, ranges_.values}) {
    ranges.minimum.fill_(kInfinity);
    ranges.maximum.fill_(-kInfinity);
  }
  reach_.fill_(-kInfinity);
}

KvStatistics RangeObserver::merged(Communicator& communicator) const {
  KvStatistics statistics(config_.layers, config_.kv_heads, config_.head_dim);
  statistics.keys = merged_ranges(ranges_.keys, std::move(statistics.keys), communicator);
  statistics.values = merged_ranges(ranges_.values, std::move(statistics.values), communicator);
  statistics.key_reach = merged_reach(reach_, communicator);
  return statistics;
}

}  // namespace kvcalib
