// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "sharding/formats/weight_directory.h"

namespace kvcalib::fixture {

// Weights of which only the shape is asked: a model's own, or with a config.ini.
class ModelDirectory final : public WeightDirectory {
 public:
  ModelDirectory(const std::filesystem::path& path, const ModelConfig& config,
                 std::optional<IniFile> runtime_config = std::nullopt)
      : WeightDirectory(path), runtime_config_(std::move(runtime_config)) {
    config_ = config;
  }

  LayerPlan layer_plan(int64_t) const override { return {}; }
  EmbeddingTable embedding() const override { return {path_, 0, config_.vocab}; }
  EmbeddingTable head() const override { return embedding(); }
  EmbeddingTable final_norm() const override { return embedding(); }
  const IniFile* runtime_config() const override {
    return runtime_config_ ? &*runtime_config_ : nullptr;
  }

 private:
  std::optional<IniFile> runtime_config_;
};

// 2 layers of 4 heads and 2 kv heads x 128.
inline ModelConfig model_of_heads_128() {
  ModelConfig config;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 128;
  config.hidden = 512;
  config.intermediate = 96;
  config.vocab = 51;
  config.max_position_embeddings = 2048;
  return config;
}

}  // namespace kvcalib::fixture
