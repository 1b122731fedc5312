// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "sharding/files/ini_file.h"
#include "sharding/formats/layer_plan.h"
#include "sharding/formats/model_config.h"
#include "sharding/formats/turbomind_layout.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// A weights directory as LMDeploy's deploy.py (v0.0.2 to v0.3.0) writes it: config.ini and one
// headerless 16-bit file per tensor and rank.  Immutable once open.
class TurboMindDirectory final : public WeightDirectory {
 public:
  // Reads config.ini and compares the size of every file with the shape it must have.  Throws Error
  // for a missing, short or long file, for a config that contradicts itself, and for int4 weights.
  static TurboMindDirectory open(const std::filesystem::path& directory);

  const IniFile* runtime_config() const override { return &config_file_; }
  int64_t embedding_rows() const { return embedding_rows_; }

  LayerPlan layer_plan(int64_t layer) const override;
  EmbeddingTable embedding() const override;
  EmbeddingTable head() const override;
  EmbeddingTable final_norm() const override;

 private:
  TurboMindDirectory(std::filesystem::path path, IniFile config_file)
      : WeightDirectory(std::move(path)), config_file_(std::move(config_file)) {}
  EmbeddingTable table(const char* file, int64_t rows) const;

  IniFile config_file_;
  std::vector<TurboMindLayerFile> layer_files_;
  int64_t embedding_rows_ = 0;
};

// The model that a config.ini of [llama] describes.  Throws Error naming the key that is missing,
// malformed or contradicts another.
ModelConfig read_model_config(const IniFile& config);

}  // namespace kvcalib
