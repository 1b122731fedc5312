// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "sharding/files/ini_file.h"
#include "sharding/formats/layer_plan.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

// Where a model's embedding, its head or its final norm lies: [rows, hidden] from `offset` of a
// file on.
struct EmbeddingTable {
  std::filesystem::path file;
  uint64_t offset = 0;  // bytes
  int64_t rows = 0;
  ElementType type = ElementType::kFloat16;
  bool normalise_rows = false;  // each row is brought to length 1 before it is used (Baichuan 2)
};

// A directory that holds a model's weights, checked when it was opened; immutable.
class WeightDirectory {
 public:
  virtual ~WeightDirectory() = default;

  const std::filesystem::path& path() const { return path_; }
  const ModelConfig& config() const { return config_; }

  // Where `layer`'s bytes are and how they form whole tensors.  q and k rotate in interleaved pairs
  // there, whatever their order on disk; a tensor that a family lacks, as an output bias where only
  // q, k and v have one, is left out.
  virtual LayerPlan layer_plan(int64_t layer) const = 0;
  virtual EmbeddingTable embedding() const = 0;
  virtual EmbeddingTable head() const = 0;        // the embedding, where they are tied
  virtual EmbeddingTable final_norm() const = 0;  // one row
  // The config.ini of weights that a runtime reads as they are; null for a model's own.
  virtual const IniFile* runtime_config() const { return nullptr; }
  // What to know of how the model was read, a sentence each.
  const std::vector<std::string>& warnings() const { return warnings_; }

 protected:
  explicit WeightDirectory(std::filesystem::path path) : path_(std::move(path)) {}
  WeightDirectory(const WeightDirectory&) = default;
  WeightDirectory(WeightDirectory&&) = default;
  WeightDirectory& operator=(const WeightDirectory&) = default;
  WeightDirectory& operator=(WeightDirectory&&) = default;

  std::filesystem::path path_;
  ModelConfig config_;
  std::vector<std::string> warnings_;
};

// Whether a directory is a Hugging Face model: one with config.json; one with config.ini as well is
// TurboMind's.
bool is_hugging_face(const std::filesystem::path& directory);

}  // namespace kvcalib
