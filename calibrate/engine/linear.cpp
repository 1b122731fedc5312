// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/linear.h"

#include <ATen/Parallel.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <atomic>

#include "calibrate/engine/cuda_gemm.h"
#include "calibrate/engine/single_threaded_gemm.h"

namespace kvcalib {
namespace {

// Fixed, so that every element is summed in the same order whatever runs beside it and on however
// many threads.
constexpr int64_t kTileRows = 512;
constexpr int64_t kTileColumns = 512;

int64_t tiles_of(int64_t count, int64_t tile) { return (count + tile - 1) / tile; }

// A product cut into tasks: a strip of kTileColumns columns with some of its tiles of rows.
struct CpuProduct {
  const at::Tensor& x;
  const WeightMatrix& weight;
  const at::Tensor& out;
  int64_t window;
  bool accumulate;

  int64_t strips() const { return tiles_of(weight.columns(), kTileColumns); }
  int64_t tiles_of_window() const { return tiles_of(window, kTileRows); }
  int64_t row_tiles() const { return x.size(0) / window * tiles_of_window(); }

  int64_t width(int64_t strip) const {
    return std::min(kTileColumns, weight.columns() - strip * kTileColumns);
  }

  // `columns` [k, width]: the strip in float32, dense.
  void multiply(int64_t strip, int64_t row_tile, const at::Tensor& columns) const {
    const int64_t in_window = row_tile % tiles_of_window() * kTileRows;
    const int64_t row = row_tile / tiles_of_window() * window + in_window;
    const at::Tensor x_tile = x.narrow(0, row, std::min(kTileRows, window - in_window));
    at::Tensor out_tile =
        out.narrow(0, row, x_tile.size(0)).narrow(1, strip * kTileColumns, width(strip));
    if (accumulate)
      at::addmm_out(out_tile, out_tile, x_tile, columns);
    else
      at::mm_out(out_tile, x_tile, columns);
  }
};

// Threads take tasks as they come, since others may use the processor beside us.  A task has all
// tiles of its strip, which then is widened once, unless that leaves threads without a task.
void cpu_linear(const CpuProduct& product) {
  const int64_t threads = at::get_num_threads();
  const int64_t strips = product.strips();
  const int64_t row_tiles = product.row_tiles();
  const int64_t groups = std::min(row_tiles, tiles_of(2 * threads, strips));
  std::atomic<int64_t> next{0};
  at::parallel_for(0, threads, 1, [&](int64_t /*begin*/, int64_t /*end*/) {
    const c10::InferenceMode inference;  // thread-local
    const SingleThreadedGemm single_threaded;
    at::Tensor memory;
    int64_t widened = -1;
    for (int64_t task = next++; task < strips * groups; task = next++) {
      const int64_t strip = task / groups;
      const int64_t group = task % groups;
      const int64_t rows = product.weight.rows();
      if (!memory.defined()) memory = at::empty({rows * kTileColumns}, product.x.options());
      const at::Tensor columns =
          memory.narrow(0, 0, rows * product.width(strip)).view({rows, product.width(strip)});
      if (strip != widened)
        product.weight.copy_columns(strip * kTileColumns, product.width(strip), columns);
      widened = strip;
      for (int64_t tile = group * row_tiles / groups; tile < (group + 1) * row_tiles / groups;
           ++tile)
        product.multiply(strip, tile, columns);
    }
  });
}

}  // namespace

void linear(const at::Tensor& x, const WeightMatrix& weight, const at::Tensor& out, int64_t window,
            bool accumulate) {
  TORCH_CHECK(x.dim() == 2 && out.dim() == 2 && x.size(1) == weight.rows() &&
                  x.size(0) == out.size(0) && weight.columns() == out.size(1),
              "linear: shapes ", x.sizes(), ", [", weight.rows(), ", ", weight.columns(), "], ",
              out.sizes());
  TORCH_CHECK(x.size(0) % window == 0, "linear: tokens must be whole windows");
  if (x.is_cpu())
    cpu_linear({x, weight, out, window, accumulate});
  else
    cuda_gemm(x, weight.whole(), out, accumulate);
}

int64_t linear_scratch_bytes(int64_t rows) {
  return at::get_num_threads() * rows * kTileColumns * static_cast<int64_t>(sizeof(float));
}

}  // namespace kvcalib
