// SPDX-License-Identifier: Apache-2.0
#include "sharding/writing/table_rows.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "sharding/files/error.h"
#include "sharding/streaming/image_reader.h"
#include "sharding/streaming/layer_stream.h"

namespace kvcalib {
namespace {

constexpr double kSmallestNorm = 1e-12;  // as torch.nn.functional.normalize has it

std::span<std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.mutable_data_ptr()), tensor.nbytes()};
}

}  // namespace

TableRows::TableRows(const EmbeddingTable& table, int64_t hidden, WeightType type)
    : table_(table), hidden_(hidden), type_(type), file_(table.file) {}

void TableRows::read(int64_t first, int64_t count, uint16_t* target) const {
  if (count == 0) return;
  at::Tensor rows = at::empty({count, hidden_}, scalar_type(table_.type));
  const uint64_t row_bytes = rows.nbytes() / static_cast<uint64_t>(count);
  file_.read(table_.offset + static_cast<uint64_t>(first) * row_bytes, bytes_of(rows));
  if (!all_finite(bytes_of(rows), table_.type))
    throw Error(concat(table_.file.string(), ": holds NaN or Inf; the weights are damaged"));
  if (table_.normalise_rows)
    rows = rows.div(at::linalg_vector_norm(rows, 2, 1, /*keepdim=*/true).clamp_min(kSmallestNorm));
  rows = rows.to(scalar_type(element_type(type_))).contiguous();
  std::memcpy(target, rows.const_data_ptr(), rows.nbytes());
}

int64_t rows_without_padding(const WeightDirectory& source) {
  const int64_t hidden = source.config().hidden;
  const int64_t vocab = source.config().vocab;
  for (const EmbeddingTable& table : {source.embedding(), source.head()}) {
    if (table.rows <= vocab) continue;
    const TableRows reader(table, hidden, source.config().weight_type);
    std::vector<uint16_t> row(static_cast<size_t>(hidden));
    for (int64_t i = vocab; i < table.rows; ++i) {
      reader.read(i, 1, row.data());
      if (std::any_of(row.begin(), row.end(), [](uint16_t bits) { return bits != 0; }))
        return table.rows;
    }
  }
  return std::min(source.embedding().rows, vocab);
}

}  // namespace kvcalib
