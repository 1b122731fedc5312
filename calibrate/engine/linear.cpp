// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/linear.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "calibrate/engine/gpu_gemm.h"
#include "calibrate/engine/tasks.h"
#include "kernels/instruction_set.h"

namespace kvcalib {
namespace {

using kernels::cpu::InstructionSet;

constexpr int64_t kStripColumns = 512;

int64_t parts_of(int64_t count, int64_t size) { return (count + size - 1) / size; }

kernels::cpu::StoredType stored_type(at::ScalarType type) {
  switch (type) {
    case at::kHalf:
      return kernels::cpu::StoredType::kFloat16;
    case at::kBFloat16:
      return kernels::cpu::StoredType::kBfloat16;
    default:
      TORCH_CHECK(type == at::kFloat, "a weight of ", type);
      return kernels::cpu::StoredType::kFloat32;
  }
}

int64_t strip_floats(int64_t rows, const InstructionSet& set) {
  return kernels::cpu::packed_floats(rows, kStripColumns, set);
}

// Fills `packed` with the whole of a few columns.
void pack(const WeightMatrix& columns, float* packed, const InstructionSet& set) {
  for (const WeightBlock& block : columns.blocks()) {
    const at::Tensor values = block.values.to(columns.type());
    kernels::cpu::pack_columns({.source = values.const_data_ptr(),
                                .type = stored_type(values.scalar_type()),
                                .row_stride = values.stride(0),
                                .column_stride = values.stride(1),
                                .rows = values.size(0),
                                .columns = values.size(1),
                                .packed = packed,
                                .depth = columns.rows(),
                                .weight_columns = columns.columns(),
                                .first_row = block.row,
                                .first_column = block.column,
                                .column_step = block.column_step},
                               set);
  }
}

// A product cut into tasks: a strip of columns with some of the rows.
struct CpuProduct {
  const at::Tensor& x;
  const WeightMatrix& weight;
  const at::Tensor& out;
  bool accumulate;

  int64_t strips() const { return parts_of(weight.columns(), kStripColumns); }
  int64_t width(int64_t strip) const {
    return std::min(kStripColumns, weight.columns() - strip * kStripColumns);
  }

  // `packed`: the strip.
  void multiply(int64_t strip, int64_t first_row, int64_t last_row, const float* packed,
                float* scratch, const InstructionSet& set) const {
    kernels::cpu::matrix_product(
        {.x = x.const_data_ptr<float>() + first_row * x.stride(0),
         .x_stride = x.stride(0),
         .weight = packed,
         .out = out.data_ptr<float>() + first_row * out.stride(0) + strip * kStripColumns,
         .out_stride = out.stride(0),
         .rows = last_row - first_row,
         .depth = weight.rows(),
         .columns = width(strip),
         .accumulate = accumulate,
         .scratch = scratch},
        set);
  }
};

// A task has all rows of its strip, which then is packed once, unless that leaves threads without a
// task.
void cpu_linear(const CpuProduct& product) {
  const InstructionSet& set = kernels::cpu::fastest_instruction_set();
  const int64_t row_blocks = parts_of(product.x.size(0), kernels::cpu::kProductRows);
  const int64_t groups =
      std::min(row_blocks, parts_of(2 * at::get_num_threads(), product.strips()));
  const auto first_row = [&](int64_t group) {
    return std::min(group * row_blocks / groups * kernels::cpu::kProductRows, product.x.size(0));
  };
  const at::Tensor& kept = product.weight.packed_form();
  share_tasks(product.strips() * groups, [&](TaskQueue& queue) {
    const int64_t floats = strip_floats(product.weight.rows(), set);
    const at::Tensor packed =
        kept.defined() ? at::Tensor() : at::empty({floats}, product.x.options());
    const at::Tensor scratch = at::empty({kernels::cpu::kProductScratch}, product.x.options());
    int64_t packed_strip = -1;
    while (const std::optional<int64_t> task = queue.next()) {
      const int64_t strip = *task / groups, group = *task % groups;
      if (!kept.defined() && strip != packed_strip)
        pack(product.weight.narrow(strip * kStripColumns, product.width(strip)),
             packed.data_ptr<float>(), set);
      packed_strip = strip;
      const float* const weight = kept.defined() ? kept.const_data_ptr<float>() + strip * floats
                                                 : packed.const_data_ptr<float>();
      product.multiply(strip, first_row(group), first_row(group + 1), weight,
                       scratch.data_ptr<float>(), set);
    }
  });
}

}  // namespace

void linear(const at::Tensor& x, const WeightMatrix& weight, const at::Tensor& out, bool accumulate,
            int64_t chosen_for) {
  TORCH_CHECK(x.dim() == 2 && out.dim() == 2 && x.size(1) == weight.rows() &&
                  x.size(0) == out.size(0) && weight.columns() == out.size(1),
              "linear: shapes ", x.sizes(), ", [", weight.rows(), ", ", weight.columns(), "], ",
              out.sizes());
  TORCH_CHECK(x.stride(1) == 1 && out.stride(1) == 1, "linear: rows must be dense");
  if (x.is_cpu())
    cpu_linear({x, weight, out, accumulate});
  else
    gpu_gemm(x, weight.whole(), out, accumulate, chosen_for);
}

WeightMatrix packed(const WeightMatrix& weight) {
  const InstructionSet& set = kernels::cpu::fastest_instruction_set();
  const int64_t floats = strip_floats(weight.rows(), set);
  const int64_t strips = parts_of(weight.columns(), kStripColumns);
  const at::Tensor form = at::empty({strips * floats}, at::kFloat);
  share_tasks(strips, [&](TaskQueue& queue) {
    while (const std::optional<int64_t> strip = queue.next()) {
      const int64_t first = *strip * kStripColumns;
      pack(weight.narrow(first, std::min(kStripColumns, weight.columns() - first)),
           form.data_ptr<float>() + *strip * floats, set);
    }
  });
  return WeightMatrix::packed(weight.rows(), weight.columns(), form);
}

int64_t packed_bytes(int64_t rows, int64_t columns) {
  return parts_of(columns, kStripColumns) *
         strip_floats(rows, kernels::cpu::fastest_instruction_set()) *
         static_cast<int64_t>(sizeof(float));
}

int64_t linear_scratch_bytes(int64_t rows) {
  const int64_t packed =
      kernels::cpu::packed_floats(rows, kStripColumns, kernels::cpu::fastest_instruction_set());
  return at::get_num_threads() * (packed + kernels::cpu::kProductScratch) *
         static_cast<int64_t>(sizeof(float));
}

}  // namespace kvcalib
