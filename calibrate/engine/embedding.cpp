// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/embedding.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>

#include <algorithm>
#include <atomic>

#include "sharding/files/error.h"
#include "sharding/files/ranged_file.h"
#include "sharding/streaming/image_reader.h"
#include "sharding/streaming/layer_stream.h"
#include "sharding/streaming/zero_weights.h"

namespace kvcalib {
namespace {

constexpr int64_t kRowsAtOnce = 4096;
constexpr double kSmallestNorm = 1e-12;  // as torch.nn.functional.normalize has it

}  // namespace

void read_rows(const EmbeddingTable& table, const ModelConfig& config,
               std::span<const int32_t> rows, const at::Tensor& target) {
  const RangedFile file(table.file);
  const auto row_bytes = static_cast<size_t>(config.hidden) * element_bytes(table.type);
  const auto all = static_cast<int64_t>(rows.size());
  const at::Tensor stored =
      at::empty({std::min(kRowsAtOnce, all), config.hidden},
                at::TensorOptions(scalar_type(table.type)).pinned_memory(target.is_cuda()));
  auto* const base = static_cast<std::byte*>(stored.data_ptr());
  for (int64_t first = 0; first < all; first += kRowsAtOnce) {
    const int64_t count = std::min(kRowsAtOnce, all - first);
    std::atomic<bool> finite{true};
    at::parallel_for(0, count, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const std::span row(base + static_cast<size_t>(i) * row_bytes, row_bytes);
        const auto index = static_cast<size_t>(rows[static_cast<size_t>(first + i)]);
        file.read(table.offset + index * row_bytes, row);
        if (!all_finite(row, table.type)) finite = false;
      }
    });
    if (!finite)
      throw Error(concat(table.file.string(), ": holds NaN or Inf; the weights are damaged, get ",
                         "or deploy the model again"));
    at::Tensor values = stored.narrow(0, 0, count);
    if (table.normalise_rows)
      values = values.div(
          at::linalg_vector_norm(values, 2, 1, /*keepdim=*/true).clamp_min(kSmallestNorm));
    target.narrow(0, first, count).copy_(values.to(scalar_type(element_type(config.weight_type))));
  }
}

void embed_tokens(const WeightDirectory& directory, std::span<const int32_t> ids,
                  const at::Tensor& hidden) {
  refuse_zeros(directory.embedding(), directory.config());
  read_rows(directory.embedding(), directory.config(), ids, hidden);
}

}  // namespace kvcalib
