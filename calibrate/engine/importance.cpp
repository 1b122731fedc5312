// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/importance.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace kvcalib {
namespace {

constexpr int64_t kColumnsAtOnce = 512;  // of W_o, widened to float32

}  // namespace

SampledQueries::SampledQueries(int64_t length, int64_t sliding_window, const at::Device& device) {
  const at::Tensor keys = at::arange(length, at::kLong);
  const at::Tensor sampled = at::arange((length - 1) % kQueryStep, length, kQueryStep, at::kLong);
  const at::Tensor ahead = keys.unsqueeze(0).sub(sampled.unsqueeze(1));
  at::Tensor hidden = ahead.gt(0);
  if (sliding_window > 0) hidden = hidden.logical_or(ahead.le(-sliding_window));
  positions = sampled.to(device);
  unseen = hidden.to(device);
}

at::Tensor output_gram(const WeightMatrix& output, int64_t heads, const at::Device& device) {
  const int64_t head_dim = output.rows() / heads;
  const auto options = at::device(device).dtype(at::kFloat);
  const at::Tensor gram = at::zeros({heads, head_dim, head_dim}, options);
  for (int64_t first = 0; first < output.columns(); first += kColumnsAtOnce) {
    const int64_t count = std::min(kColumnsAtOnce, output.columns() - first);
    const at::Tensor columns = at::empty({output.rows(), count}, options);
    output.copy_columns(first, count, columns);
    const at::Tensor of_heads = columns.view({heads, head_dim, count});
    gram.add_(at::bmm(of_heads, of_heads.transpose(1, 2)));
  }
  return gram;
}

at::Tensor Importance::of_keys() const { return at::bmm(pulls.transpose(1, 2), queries); }

at::Tensor Importance::of_values() const { return at::bmm(shares.transpose(1, 2), columns); }

at::Tensor Importance::totals() const {
  const auto total = [](const at::Tensor& rows, const at::Tensor& columns) {
    return rows.sum(-1, false, at::kDouble).mul(columns.sum(-1, false, at::kDouble)).sum(-1);
  };
  return at::stack({total(pulls, queries), total(shares, columns)}, 1);
}

Importance importance_of(const SampledQueries& sampled, const at::Tensor& queries,
                         const at::Tensor& keys, const at::Tensor& values, const at::Tensor& gram) {
  const int64_t count = queries.size(0), kv_heads = queries.size(1), group = queries.size(2);
  const int64_t head_dim = queries.size(3), length = keys.size(1);
  const at::Tensor own = queries.permute({1, 2, 0, 3}).reshape({kv_heads, group * count, head_dim});
  const at::Tensor scores =
      at::bmm(own, keys.transpose(1, 2)).mul_(1 / std::sqrt(static_cast<double>(head_dim)));
  const at::Tensor probabilities =
      scores.view({kv_heads, group, count, length})
          .masked_fill_(sampled.unseen, -std::numeric_limits<double>::infinity())
          .softmax(-1);
  const at::Tensor attended = at::bmm(probabilities.view({kv_heads, group * count, length}), values)
                                  .view({kv_heads, group, count, head_dim});
  // |W_o (v - o)|^2 = v G v - 2 o G v + o G o, in fp32: of a query that sees little but v, o is v,
  // and what is left of the three terms are their last bits, which are no distance.
  constexpr double kLastBits = 1 - 0x1p-20;
  const at::Tensor turned = at::matmul(values.unsqueeze(1), gram);  // G v, [.., tokens, head_dim]
  const at::Tensor of_values = turned.mul(values.unsqueeze(1)).sum(-1).mul_(kLastBits);
  const at::Tensor of_attended = at::matmul(attended, gram).mul_(attended).sum(-1).mul_(kLastBits);
  const at::Tensor distances = at::matmul(attended, turned.transpose(-1, -2))
                                   .mul_(-2)
                                   .add_(of_values.unsqueeze(2))
                                   .add_(of_attended.unsqueeze(3))
                                   .clamp_min_(0);
  const at::Tensor squares = probabilities.mul(probabilities);
  return {.pulls = distances.mul_(squares).view({kv_heads, group * count, length}),
          .queries = own.mul(own).div_(static_cast<double>(head_dim)),
          .shares = squares.sum(2),
          .columns = gram.diagonal(0, -2, -1)};
}

}  // namespace kvcalib
