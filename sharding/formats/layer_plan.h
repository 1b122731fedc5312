// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "sharding/formats/model_config.h"

namespace kvcalib {

// The tensors of a decoder layer as the engine wants them: whole, [in, out].
enum class LayerTensor {
  kAttentionNorm,  // [hidden]
  kQkv,         // [hidden, (heads + 2 kv_heads) head_dim]: all q heads | all k heads | all v heads
  kQkvBias,     // [(heads + 2 kv_heads) head_dim]
  kOutput,      // [heads head_dim, hidden]
  kOutputBias,  // [hidden]
  kFfnNorm,     // [hidden]
  kGateUp,      // [hidden, 2 intermediate]: gate | up
  kDown,        // [intermediate, hidden]
  kQueryNorm,   // [head_dim], where the model has query_key_norm
  kKeyNorm,     // [head_dim]
  kGateUpBias,  // [2 intermediate], where the model has mlp_bias
  kDownBias,    // [hidden]
};
inline constexpr int64_t kLayerTensors = 12;

// How numbers are stored.
enum class ElementType { kFloat16, kBFloat16, kFloat32 };
inline uint64_t element_bytes(ElementType type) { return type == ElementType::kFloat32 ? 4 : 2; }
inline ElementType element_type(WeightType type) {
  return type == WeightType::kFloat16 ? ElementType::kFloat16 : ElementType::kBFloat16;
}

// Rows and columns of a whole tensor; vectors are one row.  Whether the model has the tensor is
// another question: has_tensor.
std::pair<int64_t, int64_t> tensor_shape(const ModelConfig& config, LayerTensor tensor);
bool has_tensor(const ModelConfig& config, LayerTensor tensor);

// Bytes of a file and where they lie in the layer's image.
struct FileRange {
  std::filesystem::path file;
  uint64_t offset = 0;  // in the file
  uint64_t bytes = 0;
  uint64_t image_offset = 0;
  ElementType type = ElementType::kFloat16;
  std::string name = {};  // of the tensor, where the file does not name it
};

// A rectangle of elements in the layer's image and its place in a whole tensor: its element (i, j)
// lies i * row_stride + j * column_stride elements behind its first, and is the tensor's element
// (row + i, column + j * column_step).
struct TensorBlock {
  LayerTensor tensor;
  int64_t row = 0, column = 0;  // of its first element in the whole tensor
  int64_t rows = 0, columns = 0;
  uint64_t image_offset = 0;  // bytes, of its first element
  int64_t row_stride = 0;     // elements between rows in the image
  int64_t column_step = 1;    // of the whole tensor
  int64_t column_stride = 1;  // elements between columns in the image
  ElementType type = ElementType::kFloat16;
};

// How a layer comes together: its image is the listed bytes of its files end to end (aligned), its
// tensors are blocks of that image.  This is all that a format has to say; reading and assembling
// know no format.
struct LayerPlan {
  std::vector<FileRange> ranges;  // ascending image_offset
  std::vector<TensorBlock> blocks;
  uint64_t image_bytes = 0;
};

}  // namespace kvcalib
