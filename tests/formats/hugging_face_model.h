// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "sharding/files/ranged_file.h"
#include "sharding/formats/open_weights.h"
#include "tests/hugging_face_fixture.h"
#include "tests/message_of.h"

namespace kvcalib {

using fixture::biased_model;
using fixture::element_bits;
using fixture::HuggingFaceModel;
using fixture::small_model;
using fixture::TemporaryFolder;
using fixture::write_file;
using fixture::write_hugging_face;

// The image of a layer, read as its plan says.
inline std::vector<std::byte> read_layer(const LayerPlan& plan) {
  std::vector<std::byte> image(plan.image_bytes);
  for (const FileRange& range : plan.ranges) {
    EXPECT_EQ(range.image_offset % 256, 0u);
    RangedFile(range.file)
        .read(range.offset, std::span(image).subspan(range.image_offset, range.bytes));
  }
  return image;
}

inline uint16_t bits_at(const std::byte* element, ElementType type) {
  uint16_t bits = 0;
  float value = 0;
  if (type != ElementType::kFloat32) {
    std::memcpy(&bits, element, sizeof bits);
    return bits;
  }
  std::memcpy(&value, element, sizeof value);
  return kernels::from_float<kernels::Half>(value).bits;
}

// Counts the elements of the whole tensors that the layer's blocks do not fill, fill twice, or fill
// with what another place should hold.
inline int64_t wrong_elements(const WeightDirectory& directory, int64_t layer,
                              bool has_output_bias) {
  const ModelConfig& config = directory.config();
  const LayerPlan plan = directory.layer_plan(layer);
  const std::vector<std::byte> image = read_layer(plan);
  int64_t wrong = 0;
  for (int64_t i = 0; i < kLayerTensors; ++i) {
    const auto tensor = static_cast<LayerTensor>(i);
    const auto [rows, columns] = tensor_shape(config, tensor);
    const bool there =
        has_tensor(config, tensor) && (tensor != LayerTensor::kOutputBias || has_output_bias);
    std::vector<int> filled(static_cast<size_t>(rows * columns), 0);
    for (const TensorBlock& block : plan.blocks) {
      if (block.tensor != tensor) continue;
      for (int64_t row = 0; row < block.rows; ++row) {
        for (int64_t column = 0; column < block.columns; ++column) {
          const int64_t in_row = block.row + row;
          const int64_t in_column = block.column + column * block.column_step;
          const auto element =
              static_cast<uint64_t>(row * block.row_stride + column * block.column_stride);
          const uint64_t place = block.image_offset + element * element_bytes(block.type);
          wrong +=
              bits_at(&image.at(place), block.type) != element_bits(layer, i, in_row, in_column);
          ++filled.at(static_cast<size_t>(in_row * columns + in_column));
        }
      }
    }
    wrong += std::count_if(filled.begin(), filled.end(),
                           [&](int times) { return times != (there ? 1 : 0); });
  }
  return wrong;
}

inline int64_t wrong_elements(const WeightDirectory& directory, bool has_output_bias = false) {
  int64_t wrong = 0;
  for (int64_t layer = 0; layer < directory.config().layers; ++layer)
    wrong += wrong_elements(directory, layer, has_output_bias);
  return wrong;
}

inline std::string refusal(const TemporaryFolder& folder) {
  return message_of([&] { open_weights(folder.path()); });
}

inline std::string refusal(const ModelConfig& config, const HuggingFaceModel& model) {
  const TemporaryFolder folder;
  write_hugging_face(folder.path(), config, model);
  return refusal(folder);
}

// Row `row` of a table, as bits.
inline std::vector<uint16_t> table_row(const EmbeddingTable& table, int64_t row, int64_t hidden) {
  std::vector<uint16_t> bits(static_cast<size_t>(hidden));
  RangedFile(table.file)
      .read(table.offset + static_cast<uint64_t>(row * hidden) * 2,
            std::as_writable_bytes(std::span(bits)));
  return bits;
}

// Rewrites the tensors of a model of one file.
inline void change_tensors(
    const TemporaryFolder& folder,
    const std::function<void(std::map<std::string, SafetensorsTensor>&)>& change) {
  const auto path = folder.path() / "model.safetensors";
  Safetensors model = Safetensors::read(path);
  change(model.tensors);
  write_file(path, safetensors_bytes(model));
}

inline void rename_tensors(const TemporaryFolder& folder,
                           const std::function<std::string(const std::string&)>& name) {
  change_tensors(folder, [&](auto& tensors) {
    std::map<std::string, SafetensorsTensor> renamed;
    for (auto& [old, tensor] : tensors) renamed[name(old)] = std::move(tensor);
    tensors = std::move(renamed);
  });
}

// What opening a directory warns of, end to end.
inline std::string warnings_of(const TemporaryFolder& folder) {
  std::string all;
  const auto directory = open_weights(folder.path());
  for (const std::string& warning : directory->warnings()) all += warning + "\n";
  return all;
}

}  // namespace kvcalib
