// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "sharding/files/json_object.h"
#include "sharding/formats/hugging_face_layer.h"
#include "sharding/formats/model_family.h"
#include "sharding/formats/safetensors_index.h"
#include "sharding/formats/tensor_names.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// A model as Hugging Face distributes it: config.json and safetensors.  Immutable once open.
class HuggingFaceDirectory final : public WeightDirectory {
 public:
  // Reads config.json and the headers of the files, and looks for every tensor that the config
  // calls for, with its shape.  Throws Error for one that is missing, of another shape, or in a
  // layer without being part of such a model; for pickles, quantised weights and adapters.
  static std::unique_ptr<WeightDirectory> open(const std::filesystem::path& directory);

  LayerPlan layer_plan(int64_t layer) const override;
  EmbeddingTable embedding() const override;
  EmbeddingTable head() const override;
  EmbeddingTable final_norm() const override;

 private:
  HuggingFaceDirectory(const std::filesystem::path& path, const JsonObject& config);
  void check_tensors();
  // Of a layer, by their names here.
  std::vector<StoredTensor> tensors_of(int64_t layer) const;
  [[noreturn]] void refuse_tensor(const std::string& name, const TensorPlace& place) const;
  // Where a tensor lies that must be there, with this shape.
  const TensorPlace& place(const std::string& name, const std::vector<int64_t>& shape) const;
  EmbeddingTable table(std::string_view module, const std::vector<int64_t>& shape) const;
  bool has(std::string_view module) const;

  const ModelFamily& family_;
  const SafetensorsIndex index_;
  const TensorNames names_;
  const bool tied_;  // the embedding is the head too
};

}  // namespace kvcalib
