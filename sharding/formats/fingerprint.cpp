// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/fingerprint.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <span>
#include <vector>

#include "kernels/numeric.h"
#include "sharding/files/error.h"
#include "sharding/files/ranged_file.h"
#include "sharding/files/sha256.h"

namespace kvcalib {
namespace {

constexpr int64_t kCorner = 16;

// A rectangle of a whole tensor.
struct Corner {
  LayerTensor tensor;
  int64_t row, column, rows, columns;
};

// The corners that make up a layer's part of the fingerprint.
std::vector<Corner> corners(const ModelConfig& config) {
  const int64_t values = (config.heads + config.kv_heads) * config.head_dim;
  const int64_t hidden = std::min(kCorner, config.hidden);
  const int64_t inner = std::min(kCorner, config.intermediate);
  return {{LayerTensor::kAttentionNorm, 0, 0, 1, config.hidden},
          {LayerTensor::kFfnNorm, 0, 0, 1, config.hidden},
          {LayerTensor::kQkv, 0, values, hidden, std::min(kCorner, config.head_dim)},
          {LayerTensor::kOutput, 0, 0, hidden, hidden},
          {LayerTensor::kGateUp, 0, 0, hidden, inner},
          {LayerTensor::kGateUp, 0, config.intermediate, hidden, inner},
          {LayerTensor::kDown, 0, 0, inner, hidden}};
}

// How many of the block's columns lie before column `end` of the whole tensor.
int64_t columns_before(const TensorBlock& block, int64_t end) {
  if (end <= block.column) return 0;
  return std::min((end - block.column + block.column_step - 1) / block.column_step, block.columns);
}

// A stored element as bits of the model's 16-bit type.
uint16_t to_bits(const std::byte* stored, ElementType from, WeightType to) {
  uint32_t raw = 0;
  std::memcpy(&raw, stored, element_bytes(from));
  if (from == element_type(to)) return static_cast<uint16_t>(raw);
  float value = 0;
  if (from == ElementType::kFloat16)
    value = kernels::to_float(kernels::Half{static_cast<uint16_t>(raw)});
  else  // bfloat16 is the upper half of float32
    value = std::bit_cast<float>(from == ElementType::kBFloat16 ? raw << 16 : raw);
  if (to == WeightType::kFloat16) return kernels::from_float<kernels::Half>(value).bits;
  return kernels::from_float<kernels::Bfloat16>(value).bits;
}

const FileRange& range_of(const LayerPlan& plan, uint64_t image_offset) {
  const auto after = std::upper_bound(
      plan.ranges.begin(), plan.ranges.end(), image_offset,
      [](uint64_t offset, const FileRange& range) { return offset < range.image_offset; });
  return *std::prev(after);
}

// `count` neighbouring elements of a block from (row, column) of it on, along its rows or, where
// those are not dense, its columns; as bits of the model's 16-bit type.
std::vector<uint16_t> read_run(const LayerPlan& plan, const TensorBlock& block, int64_t row,
                               int64_t column, int64_t count, WeightType type) {
  const FileRange& range = range_of(plan, block.image_offset);
  const uint64_t size = element_bytes(block.type);
  const auto element = static_cast<uint64_t>(row * block.row_stride + column * block.column_stride);
  std::vector<std::byte> bytes(static_cast<size_t>(count) * size);
  RangedFile(range.file)
      .read(range.offset + block.image_offset - range.image_offset + element * size, bytes);
  std::vector<uint16_t> bits(static_cast<size_t>(count));
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = to_bits(&bytes[i * size], block.type, type);
  return bits;
}

// The corner's elements, row-major, wherever the blocks of the plan keep them.
std::vector<uint16_t> read_corner(const LayerPlan& plan, const Corner& corner, WeightType type) {
  std::vector<uint16_t> elements(static_cast<size_t>(corner.rows * corner.columns));
  for (const TensorBlock& block : plan.blocks) {
    if (block.tensor != corner.tensor) continue;
    const int64_t first_row = std::max(corner.row, block.row) - block.row;
    const int64_t last_row = std::min(corner.row + corner.rows, block.row + block.rows) - block.row;
    const int64_t first = columns_before(block, corner.column);
    const int64_t last = columns_before(block, corner.column + corner.columns);
    if (first_row >= last_row || first >= last) continue;
    const bool along_rows = block.column_stride == 1;
    const int64_t runs = along_rows ? last_row - first_row : last - first;
    for (int64_t run = 0; run < runs; ++run) {
      const int64_t row = first_row + (along_rows ? run : 0);
      const int64_t column = first + (along_rows ? 0 : run);
      const int64_t count = along_rows ? last - first : last_row - first_row;
      const std::vector<uint16_t> bits = read_run(plan, block, row, column, count, type);
      for (int64_t i = 0; i < count; ++i) {
        const int64_t in_row = block.row + row + (along_rows ? 0 : i) - corner.row;
        const int64_t in_column =
            block.column + (column + (along_rows ? i : 0)) * block.column_step - corner.column;
        elements[static_cast<size_t>(in_row * corner.columns + in_column)] =
            bits[static_cast<size_t>(i)];
      }
    }
  }
  return elements;
}

}  // namespace

std::string weights_fingerprint(const WeightDirectory& directory) {
  const ModelConfig& config = directory.config();
  Sha256 hash;
  const std::array<int64_t, 8> shape = {
      config.layers,   config.hidden,       config.heads, config.kv_heads,
      config.head_dim, config.intermediate, config.vocab, static_cast<int64_t>(config.weight_type)};
  hash.update(std::as_bytes(std::span(shape)));
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const LayerPlan plan = directory.layer_plan(layer);
    for (const Corner& corner : corners(config)) {
      const std::vector<uint16_t> elements = read_corner(plan, corner, config.weight_type);
      hash.update(std::as_bytes(std::span(elements)));
    }
  }
  return hash.hex();
}

}  // namespace kvcalib
