// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/util/Half.h>

#include <utility>

#include "sharding/formats/weight_directory.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib {

// A directory of the fixture's elements for any ModelConfig, each tensor in a file of its own:
// whole, as the engine wants it, or as Hugging Face has it: [out, in], q and k in halves, here in
// float32.
class PlainDirectory final : public WeightDirectory {
 public:
  enum class Order { kEngine, kHuggingFace };

  PlainDirectory(std::filesystem::path path, const ModelConfig& config, Order order)
      : WeightDirectory(std::move(path)), order_(order) {
    config_ = config;
    fixture::write_elements(
        embedding().file, config.vocab, config.hidden,
        [](int64_t row, int64_t column) { return fixture::element_bits(99, 9, row, column); });
    for (int64_t layer = 0; layer < config.layers; ++layer)
      for (const TensorPlace& place : places(layer)) write(layer, place);
  }

  EmbeddingTable embedding() const override {
    return {path_ / "embedding", 0, config_.vocab, ElementType::kFloat16};
  }
  EmbeddingTable head() const override { return embedding(); }
  EmbeddingTable final_norm() const override { return {places(0).front().file, 0, 1, type()}; }

  LayerPlan layer_plan(int64_t layer) const override {
    LayerPlan plan;
    for (const TensorPlace& place : places(layer)) {
      const auto bytes = static_cast<uint64_t>(place.rows * place.columns) * element_bytes(type());
      plan.ranges.push_back({place.file, 0, bytes, plan.image_bytes, type()});
      add_blocks(plan, place);
      plan.image_bytes += (bytes + 255) / 256 * 256;
    }
    return plan;
  }

 private:
  struct TensorPlace {
    LayerTensor tensor;
    int64_t rows, columns;
    int64_t rotated;  // the first of its columns are heads that are rotated
    std::filesystem::path file;
  };

  bool is_plain() const { return order_ == Order::kEngine; }
  ElementType type() const { return is_plain() ? ElementType::kFloat16 : ElementType::kFloat32; }

  std::vector<TensorPlace> places(int64_t layer) const {
    std::vector<TensorPlace> found;
    for (int64_t i = 0; i < kLayerTensors; ++i) {
      const auto tensor = static_cast<LayerTensor>(i);
      if (!has_tensor(config_, tensor)) continue;
      const auto [rows, columns] = tensor_shape(config_, tensor);
      int64_t rotated = 0;
      if (tensor == LayerTensor::kQkv || tensor == LayerTensor::kQkvBias)
        rotated = (config_.heads + config_.kv_heads) * config_.head_dim;
      if (tensor == LayerTensor::kQueryNorm || tensor == LayerTensor::kKeyNorm) rotated = columns;
      found.push_back({tensor, rows, columns, rotated, path_ / concat(layer, ".", i)});
    }
    return found;
  }

  // The column of the whole tensor that Hugging Face has at `place`: halves, not pairs.
  int64_t column_at(int64_t place, int64_t rotated) const {
    const int64_t d = config_.head_dim, channel = place % d;
    if (place >= rotated) return place;
    return place - channel + channel % (d / 2) * 2 + channel / (d / 2);
  }

  void write(int64_t layer, const TensorPlace& place) const {
    const auto element = [&](int64_t row, int64_t column) {
      return fixture::element_bits(layer, static_cast<int64_t>(place.tensor), row, column);
    };
    if (is_plain()) return fixture::write_elements(place.file, place.rows, place.columns, element);
    std::ofstream file(place.file, std::ios::binary);
    for (int64_t column = 0; column < place.columns; ++column) {
      for (int64_t row = 0; row < place.rows; ++row) {
        const float value =
            c10::Half(element(row, column_at(column, place.rotated)), c10::Half::from_bits());
        file.write(reinterpret_cast<const char*>(&value), sizeof(value));
      }
    }
  }

  void add_blocks(LayerPlan& plan, const TensorPlace& place) const {
    const int64_t half = config_.head_dim / 2;
    const auto add = [&](int64_t first, int64_t column, int64_t columns, int64_t step) {
      TensorBlock block{place.tensor, 0, column, place.rows, columns, plan.image_bytes};
      block.image_offset += static_cast<uint64_t>(first * place.rows) * element_bytes(type());
      block.row_stride = is_plain() ? place.columns : 1;
      block.column_stride = is_plain() ? 1 : place.rows;
      block.column_step = step;
      block.type = type();
      plan.blocks.push_back(block);
    };
    const int64_t rotated = is_plain() ? 0 : place.rotated;
    for (int64_t first = 0; first < rotated; first += half)
      add(first, column_at(first, rotated), half, 2);
    if (rotated < place.columns) add(rotated, rotated, place.columns - rotated, 1);
  }

  Order order_;
};

}  // namespace kvcalib
