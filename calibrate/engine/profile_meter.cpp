// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/profile_meter.h"

#include <ATen/ops/zeros.h>

#include <utility>

#include "calibrate/engine/squared_differences.h"

namespace kvcalib {
namespace {

constexpr int64_t kKey = 0, kValue = 1, kBoth = 2, kSize = 3;  // of a kv head

}  // namespace

ProfileMeter::ProfileMeter(const ModelConfig& config, std::vector<SampledTree> trees,
                           std::vector<const CacheQuantizer*> quantizers, const at::Device& device)
    : config_(config),
      trees_(std::move(trees)),
      quantizers_(std::move(quantizers)),
      errors_(
          at::zeros({static_cast<int64_t>(trees_.size()), static_cast<int64_t>(quantizers_.size()),
                     config.layers, TreeErrors::width(config.kv_heads)},
                    at::device(device).dtype(at::kDouble))) {}

template <typename See>
void ProfileMeter::each_tree(int64_t first_row, int64_t rows, const See& see) const {
  for (size_t i = 0; i < trees_.size(); ++i) {
    const int64_t first = trees_[i].first_row - first_row;
    if (0 <= first && first + trees_[i].segments.rows() <= rows) see(i, first);
  }
}

at::Tensor ProfileMeter::place(size_t tree, size_t stream, int64_t layer) const {
  return errors_[static_cast<int64_t>(tree)][static_cast<int64_t>(stream)][layer];
}

void ProfileMeter::see_attention(int64_t layer, int64_t first_row, const at::Tensor& queries,
                                 const at::Tensor& keys, const at::Tensor& values) {
  each_tree(first_row, queries.size(0), [&](size_t tree, int64_t first) {
    const Segments& segments = trees_[tree].segments;
    const auto own = [&](const at::Tensor& all) { return all.narrow(0, first, segments.rows()); };
    const at::Tensor asked = own(queries);
    const at::Tensor exact_keys = own(keys).contiguous(), exact_values = own(values).contiguous();
    const auto attend = [&](const at::Tensor& k, const at::Tensor& v) {
      return segment_attention(asked, k, v, segments, config_.sliding_window);
    };
    const at::Tensor exact = attend(exact_keys, exact_values);
    for (size_t stream = 0; stream < quantizers_.size(); ++stream) {
      if (quantizers_[stream] == nullptr) continue;
      const at::Tensor k = exact_keys.clone(), v = exact_values.clone();
      quantizers_[stream]->apply_keys(layer, k);
      quantizers_[stream]->apply_values(layer, v);
      const at::Tensor sums =
          place(tree, stream, layer).narrow(0, 0, 4 * config_.kv_heads).view({config_.kv_heads, 4});
      squared_differences(attend(k, exact_values), exact, sums.select(1, kKey));
      squared_differences(attend(exact_keys, v), exact, sums.select(1, kValue));
      squared_differences(attend(k, v), exact, sums.select(1, kBoth));
      squared_differences(exact, {}, sums.select(1, kSize));
    }
  });
}

void ProfileMeter::see_hidden(int64_t layer, int64_t first_row, size_t stream,
                              const at::Tensor& exact, const at::Tensor& hidden) {
  if (quantizers_[stream] == nullptr) return;
  each_tree(first_row, exact.size(0), [&](size_t tree, int64_t first) {
    const int64_t rows = trees_[tree].segments.rows();
    const at::Tensor sums = place(tree, stream, layer).narrow(0, 4 * config_.kv_heads, 2);
    const at::Tensor reference = exact.narrow(0, first, rows);
    squared_differences(hidden.narrow(0, first, rows), reference, sums.narrow(0, 0, 1));
    squared_differences(reference, {}, sums.narrow(0, 1, 1));
  });
}

std::vector<TreeErrors> ProfileMeter::errors() const {
  const at::Tensor host = errors_.cpu();
  std::vector<TreeErrors> result;
  for (size_t i = 0; i < trees_.size(); ++i) {
    const at::Tensor own = host[static_cast<int64_t>(i)].contiguous();
    const auto* const first = own.const_data_ptr<double>();
    result.push_back({trees_[i].tree, {first, first + own.numel()}});
  }
  return result;
}

}  // namespace kvcalib
