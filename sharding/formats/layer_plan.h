// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
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
};
inline constexpr int64_t kLayerTensors = 8;

// Rows and columns of a whole tensor; vectors are one row.
std::pair<int64_t, int64_t> tensor_shape(const ModelConfig& config, LayerTensor tensor);

// Bytes of a file and where they lie in the layer's image.
struct FileRange {
  std::filesystem::path file;
  uint64_t offset = 0;  // in the file
  uint64_t bytes = 0;
  uint64_t image_offset = 0;
};

// A rectangle of 16-bit elements in the layer's image and its place in a whole tensor.
struct TensorBlock {
  LayerTensor tensor;
  int64_t row = 0, column = 0;  // of its first element in the whole tensor
  int64_t rows = 0, columns = 0;
  uint64_t image_offset = 0;  // bytes, of its first element
  int64_t row_stride = 0;     // elements between rows in the image
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
