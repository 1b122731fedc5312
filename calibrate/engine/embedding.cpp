// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/embedding.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/isfinite.h>

#include <algorithm>

#include "sharding/formats/error.h"
#include "sharding/formats/ranged_file.h"

namespace kvcalib {
namespace {

constexpr int64_t kRowsAtOnce = 4096;

}  // namespace

at::Tensor embed_tokens(const TurboMindDirectory& directory, std::span<const int32_t> ids,
                        const at::TensorOptions& options) {
  const ModelConfig& config = directory.config();
  const auto row_bytes = static_cast<size_t>(config.hidden) * 2;
  const RangedFile table(directory.embedding_file());
  const auto tokens = static_cast<int64_t>(ids.size());
  const at::Tensor hidden = at::empty({tokens, config.hidden}, options);
  const at::ScalarType stored =
      config.weight_type == WeightType::kFloat16 ? at::kHalf : at::kBFloat16;
  const at::Tensor rows = at::empty({std::min(kRowsAtOnce, tokens), config.hidden}, stored);
  for (int64_t first = 0; first < tokens; first += kRowsAtOnce) {
    const int64_t count = std::min(kRowsAtOnce, tokens - first);
    auto* out = static_cast<std::byte*>(rows.data_ptr());
    for (int64_t i = first; i < first + count; ++i, out += row_bytes)
      table.read(static_cast<size_t>(ids[static_cast<size_t>(i)]) * row_bytes, {out, row_bytes});
    const at::Tensor filled = rows.narrow(0, 0, count);
    if (!at::isfinite(filled).all().item<bool>())
      throw Error(concat(directory.embedding_file().string(),
                         ": holds NaN or Inf; the weights are damaged, deploy the model again"));
    hidden.narrow(0, first, count).copy_(filled);
  }
  return hidden;
}

}  // namespace kvcalib
