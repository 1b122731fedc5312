// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/linear.h"

#include <ATen/Parallel.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "calibrate/engine/cuda_gemm.h"
#include "calibrate/engine/single_threaded_gemm.h"

namespace kvcalib {
namespace {

// Fixed, so that every element is summed in the same order whatever runs beside it and on however
// many threads.
constexpr int64_t kTileRows = 512;
constexpr int64_t kTileColumns = 512;

void cpu_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& out,
                int64_t window, bool accumulate) {
  const int64_t columns = weight.size(1);
  const int64_t row_tiles_of_window = (window + kTileRows - 1) / kTileRows;
  const int64_t row_tiles = x.size(0) / window * row_tiles_of_window;
  const int64_t column_tiles = (columns + kTileColumns - 1) / kTileColumns;
  at::parallel_for(0, row_tiles * column_tiles, 1, [&](int64_t begin, int64_t end) {
    const c10::InferenceMode inference;  // thread-local
    const SingleThreadedGemm single_threaded;
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t row_tile = tile % row_tiles;
      const int64_t in_window = row_tile % row_tiles_of_window * kTileRows;
      const int64_t row = row_tile / row_tiles_of_window * window + in_window;
      const int64_t column = tile / row_tiles * kTileColumns;
      const at::Tensor x_tile = x.narrow(0, row, std::min(kTileRows, window - in_window));
      const int64_t width = std::min(kTileColumns, columns - column);
      const at::Tensor weight_tile = weight.narrow(1, column, width);
      at::Tensor out_tile = out.narrow(0, row, x_tile.size(0)).narrow(1, column, width);
      if (accumulate)
        at::addmm_out(out_tile, out_tile, x_tile, weight_tile);
      else
        at::mm_out(out_tile, x_tile, weight_tile);
    }
  });
}

}  // namespace

void linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& out, int64_t window,
            bool accumulate) {
  TORCH_CHECK(x.dim() == 2 && weight.dim() == 2 && out.dim() == 2 && x.size(1) == weight.size(0) &&
                  x.size(0) == out.size(0) && weight.size(1) == out.size(1),
              "linear: shapes ", x.sizes(), ", ", weight.sizes(), ", ", out.sizes());
  TORCH_CHECK(x.size(0) % window == 0, "linear: tokens must be whole windows");
  if (x.is_cpu())
    cpu_linear(x, weight, out, window, accumulate);
  else
    cuda_gemm(x, weight, out, accumulate);
}

}  // namespace kvcalib
