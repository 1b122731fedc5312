// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/profile_meter.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <utility>

namespace kvcalib {
namespace {

constexpr int64_t kKey = 0, kValue = 1, kBoth = 2, kSize = 3;  // of a kv head

constexpr int64_t kRowsAtOnce = 32;
constexpr int64_t kLanes = 8;  // sums that are independent of each other

// Of columns [0, columns) of a - b; b null: of a.
double squares(const float* a, const float* b, int64_t columns) {
  std::array<float, kLanes> sums{};
  int64_t column = 0;
  for (; column + kLanes <= columns; column += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const float difference = a[column + lane] - (b == nullptr ? 0.0F : b[column + lane]);
      sums[static_cast<size_t>(lane)] += difference * difference;
    }
  }
  double sum = 0;
  for (const float lane : sums) sum += static_cast<double>(lane);
  for (; column < columns; ++column) {
    const double difference = static_cast<double>(a[column]) - (b == nullptr ? 0.0 : b[column]);
    sum += difference * difference;
  }
  return sum;
}

// A few rows at a time, in their order: the sums do not depend on threads.
void add_squares(const at::Tensor& a, const float* b, const at::Tensor& sums) {
  const int64_t rows = a.size(0), width = a.size(1), heads = sums.numel();
  const int64_t columns = width / heads, parts = (rows + kRowsAtOnce - 1) / kRowsAtOnce;
  const float* const first = a.const_data_ptr<float>();
  std::vector<double> part_sums(static_cast<size_t>(parts * heads));
  at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin * kRowsAtOnce; row < std::min(rows, end * kRowsAtOnce); ++row) {
      for (int64_t head = 0; head < heads; ++head) {
        const int64_t start = row * width + head * columns;
        part_sums[static_cast<size_t>(row / kRowsAtOnce * heads + head)] +=
            squares(first + start, b == nullptr ? nullptr : b + start, columns);
      }
    }
  });
  auto* const result = sums.data_ptr<double>();
  for (int64_t head = 0; head < heads; ++head) {
    double sum = 0;
    for (int64_t part = 0; part < parts; ++part)
      sum += part_sums[static_cast<size_t>(part * heads + head)];
    result[head * sums.stride(0)] = sum;
  }
}

// sums [heads] float64 = of every head's columns of a - b [rows, heads * any] the sum of squares;
// b undefined: of a.
void squares_by_head(const at::Tensor& a, const at::Tensor& b, const at::Tensor& sums) {
  if (a.is_cpu()) {
    add_squares(a, b.defined() ? b.const_data_ptr<float>() : nullptr, sums);
    return;
  }
  const at::Tensor wide = a.to(at::kFloat);
  const at::Tensor difference = b.defined() ? wide.sub(b.to(at::kFloat)) : wide;
  sums.copy_(difference.square_()
                 .view({a.size(0), sums.numel(), -1})
                 .sum(at::IntArrayRef{0, 2}, /*keepdim=*/false, at::kDouble));
}

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
      squares_by_head(attend(k, exact_values), exact, sums.select(1, kKey));
      squares_by_head(attend(exact_keys, v), exact, sums.select(1, kValue));
      squares_by_head(attend(k, v), exact, sums.select(1, kBoth));
      squares_by_head(exact, {}, sums.select(1, kSize));
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
    squares_by_head(hidden.narrow(0, first, rows), reference, sums.narrow(0, 0, 1));
    squares_by_head(reference, {}, sums.narrow(0, 1, 1));
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
