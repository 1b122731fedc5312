// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/embedding.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <atomic>

#include "sharding/files/error.h"
#include "sharding/files/ranged_file.h"
#include "sharding/streaming/image_reader.h"
#include "sharding/streaming/layer_stream.h"

namespace kvcalib {
namespace {

constexpr int64_t kRowsAtOnce = 4096;

}  // namespace

void embed_tokens(const WeightDirectory& directory, std::span<const int32_t> ids,
                  const at::Tensor& hidden) {
  const ModelConfig& config = directory.config();
  const EmbeddingTable table = directory.embedding();
  const RangedFile file(table.file);
  const auto row_bytes = static_cast<size_t>(config.hidden) * element_bytes(table.type);
  const auto tokens = static_cast<int64_t>(ids.size());
  const at::Tensor rows =
      at::empty({std::min(kRowsAtOnce, tokens), config.hidden},
                at::TensorOptions(scalar_type(table.type)).pinned_memory(hidden.is_cuda()));
  auto* const base = static_cast<std::byte*>(rows.data_ptr());
  for (int64_t first = 0; first < tokens; first += kRowsAtOnce) {
    const int64_t count = std::min(kRowsAtOnce, tokens - first);
    std::atomic<bool> finite{true};
    at::parallel_for(0, count, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const std::span row(base + static_cast<size_t>(i) * row_bytes, row_bytes);
        const auto id = static_cast<size_t>(ids[static_cast<size_t>(first + i)]);
        file.read(table.offset + id * row_bytes, row);
        if (!all_finite(row, table.type)) finite = false;
      }
    });
    if (!finite)
      throw Error(concat(table.file.string(), ": holds NaN or Inf; the weights are damaged, get ",
                         "or deploy the model again"));
    hidden.narrow(0, first, count)
        .copy_(rows.narrow(0, 0, count).to(scalar_type(element_type(config.weight_type))));
  }
}

}  // namespace kvcalib
