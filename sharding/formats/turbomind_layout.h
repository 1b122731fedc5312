// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sharding/formats/layer_plan.h"

namespace kvcalib {

// Where TurboMind's weight files have the parts of a model that is cut for several ranks.  All are
// headerless 16-bit matrices, row-major.
inline constexpr uint64_t kTurboMindElementBytes = 2;

// What the model is, in the runtime's words.
inline constexpr const char* kTurboMindConfig = "config.ini";

// Tables [rows, hidden], the same for all ranks.
inline constexpr const char* kTurboMindEmbedding = "tok_embeddings.weight";
inline constexpr const char* kTurboMindHead = "output.weight";
inline constexpr const char* kTurboMindFinalNorm = "norm.weight";  // one row
uint64_t turbomind_table_bytes(const ModelConfig& config, int64_t rows);

// Neighbouring columns of a whole tensor.
struct ColumnSpan {
  int64_t first = 0;
  int64_t count = 0;
};

// A file of a layer and the part of a whole tensor that it holds: some rows, and of those some
// spans of columns side by side.
struct TurboMindLayerFile {
  std::string name;  // behind the layer's: "attention.wo.0.weight"
  LayerTensor tensor;
  int64_t first_row = 0;
  int64_t rows = 1;
  std::vector<ColumnSpan> columns;
  bool is_copy = false;  // of a file before it: all ranks have the same

  int64_t width() const;
  uint64_t bytes() const;
  std::string name_in(int64_t layer) const;
};

// The files of every layer when the model is cut for `ranks`.
std::vector<TurboMindLayerFile> turbomind_layer_files(const ModelConfig& config, int64_t ranks);

}  // namespace kvcalib
