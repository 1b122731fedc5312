// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/fingerprint.h"

#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "sharding/formats/error.h"
#include "sharding/formats/ranged_file.h"
#include "sharding/formats/sha256.h"

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

const FileRange& range_of(const LayerPlan& plan, uint64_t image_offset) {
  const auto after = std::upper_bound(
      plan.ranges.begin(), plan.ranges.end(), image_offset,
      [](uint64_t offset, const FileRange& range) { return offset < range.image_offset; });
  return *std::prev(after);
}

// The corner's elements, row-major, wherever the blocks of the plan keep them.
std::vector<uint16_t> read_corner(const LayerPlan& plan, const Corner& corner) {
  std::vector<uint16_t> elements(static_cast<size_t>(corner.rows * corner.columns));
  for (const TensorBlock& block : plan.blocks) {
    if (block.tensor != corner.tensor) continue;
    const int64_t first_row = std::max(corner.row, block.row);
    const int64_t last_row = std::min(corner.row + corner.rows, block.row + block.rows);
    const int64_t first = std::max(corner.column, block.column);
    const int64_t last = std::min(corner.column + corner.columns, block.column + block.columns);
    if (first >= last) continue;
    const FileRange& range = range_of(plan, block.image_offset);
    const RangedFile file(range.file);
    for (int64_t row = first_row; row < last_row; ++row) {
      const auto element =
          static_cast<uint64_t>((row - block.row) * block.row_stride + first - block.column);
      uint16_t* const out = &elements[static_cast<size_t>((row - corner.row) * corner.columns +
                                                          first - corner.column)];
      file.read(range.offset + block.image_offset - range.image_offset + 2 * element,
                std::as_writable_bytes(std::span(out, static_cast<size_t>(last - first))));
    }
  }
  return elements;
}

}  // namespace

std::string weights_fingerprint(const TurboMindDirectory& directory) {
  const ModelConfig& config = directory.config();
  Sha256 hash;
  const std::array<int64_t, 8> shape = {
      config.layers,   config.hidden,       config.heads, config.kv_heads,
      config.head_dim, config.intermediate, config.vocab, static_cast<int64_t>(config.weight_type)};
  hash.update(std::as_bytes(std::span(shape)));
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const LayerPlan plan = directory.layer_plan(layer);
    for (const Corner& corner : corners(config)) {
      const std::vector<uint16_t> elements = read_corner(plan, corner);
      hash.update(std::as_bytes(std::span(elements)));
    }
  }
  return hash.hex();
}

}  // namespace kvcalib
