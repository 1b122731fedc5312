// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/squared_differences.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <type_traits>
#include <vector>

#include "calibrate/engine/kernel_tensors.h"
#include "kernels/squared_differences.h"

namespace kvcalib {
namespace {

constexpr int64_t kRowsAtOnce = 32;

// A few rows at a time, which are added up in their order.
void on_cpu(const kernels::SquaredDifferencesArguments<float>& arguments) {
  const int64_t groups = arguments.groups;
  const int64_t parts = (arguments.rows + kRowsAtOnce - 1) / kRowsAtOnce;
  std::vector<double> sums(static_cast<size_t>(parts * groups));
  at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part)
      kernels::cpu::squared_differences(arguments, part * kRowsAtOnce,
                                        std::min(arguments.rows, (part + 1) * kRowsAtOnce),
                                        sums.data() + part * groups);
  });
  for (int64_t group = 0; group < groups; ++group) {
    double sum = 0;
    for (int64_t part = 0; part < parts; ++part)
      sum += sums[static_cast<size_t>(part * groups + group)];
    arguments.sums[group * arguments.sums_stride] = sum;
  }
}

}  // namespace

void squared_differences(const at::Tensor& left, const at::Tensor& right, const at::Tensor& sums) {
  TORCH_CHECK(left.dim() == 2 && left.stride(1) == 1 && sums.dim() == 1 &&
                  sums.scalar_type() == at::kDouble && left.size(1) % sums.size(0) == 0,
              "squared_differences: dense rows of groups, and float64 sums, not ", left.sizes(),
              " and ", sums.sizes());
  TORCH_CHECK(!right.defined() || (right.sizes() == left.sizes() && right.stride(1) == 1 &&
                                   right.scalar_type() == left.scalar_type()),
              "squared_differences: rows alike");
  with_kernel_type(left, [&](auto kind) {
    using T = decltype(kind);
    using Arguments = kernels::SquaredDifferencesArguments<T>;
    Arguments arguments{.left = pointer<const T>(left),
                        .right = pointer<const T>(right),
                        .left_stride = left.stride(0),
                        .right_stride = right.defined() ? right.stride(0) : 0,
                        .rows = left.size(0),
                        .groups = sums.size(0),
                        .columns = left.size(1) / sums.size(0),
                        .parts = nullptr,
                        .sums = pointer<double>(sums),
                        .sums_stride = sums.stride(0)};
    if constexpr (std::is_same_v<T, float>) {
      on_cpu(arguments);
    } else {
      const at::Tensor parts = at::empty({Arguments::kParts, arguments.groups}, sums.options());
      arguments.parts = pointer<double>(parts);
      kernels::squared_differences(arguments, current_stream(left));
    }
  });
}

}  // namespace kvcalib
