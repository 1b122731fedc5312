// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/turbomind_directory.h"

#include <algorithm>

#include "sharding/files/error.h"
#include "sharding/files/excerpt.h"
#include "sharding/files/file_kind.h"
#include "sharding/files/ranged_file.h"
#include "sharding/formats/config_numbers.h"
#include "sharding/formats/model_bounds.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kImageAlignment = 256;
constexpr int64_t kMostFaults =
    1000;  // files that are looked at in vain: a model can claim millions

constexpr ModelKeys kKeys = {.layers = "num_layer",
                             .hidden = "head_num x size_per_head",
                             .heads = "head_num",
                             .kv_heads = "kv_head_num",
                             .head_dim = "size_per_head",
                             .intermediate = "inter_size",
                             .vocab = "vocab_size",
                             .stored_ranks = "tensor_para_size",
                             .session_length = "session_len"};

[[noreturn]] void refuse(const IniFile& config, const std::string& what) {
  throw Error(concat(config.origin(), ": ", what));
}

WeightType weight_type(const IniFile& config) {
  const std::string type = config.find("weight_type").value_or("fp16");
  if (type == "fp16") return WeightType::kFloat16;
  if (type == "bf16") return WeightType::kBFloat16;
  if (type == "int4")
    refuse(config,
           "weight_type = int4: quantised weights cannot be calibrated; deploy the model again as "
           "fp16 or bf16, calibrate that, and copy the scale files into this directory");
  refuse(config, concat("weight_type = ", excerpt(type), ", expected fp16 or bf16"));
}

// The image of a layer: its files one after the other.
LayerPlan plan_of(const std::vector<TurboMindLayerFile>& files, const fs::path& directory,
                  int64_t layer, ElementType type) {
  LayerPlan plan;
  for (const TurboMindLayerFile& file : files) {
    if (file.is_copy) continue;
    const uint64_t bytes = file.bytes();
    uint64_t offset = plan.image_bytes;
    plan.ranges.push_back({directory / file.name_in(layer), 0, bytes, offset, type});
    plan.image_bytes += (bytes + kImageAlignment - 1) / kImageAlignment * kImageAlignment;
    for (const ColumnSpan& span : file.columns) {
      plan.blocks.push_back({file.tensor, file.first_row, span.first, file.rows, span.count, offset,
                             file.width(), 1, 1, type});
      offset += static_cast<uint64_t>(span.count) * kTurboMindElementBytes;
    }
  }
  return plan;
}

// Names a directory or a pointer of Git LFS in a file's place.
void refuse_what_is_no_file(const fs::path& file) { const RangedFile as_found(file); }

// Collects what is wrong with the files, so that one run shows the extent of it.
class SizeCheck {
 public:
  void expect(const fs::path& file, uint64_t bytes) {
    std::error_code failure;
    const uint64_t found = fs::file_size(file, failure);
    if (!failure && found == bytes) return;
    if (failure != std::errc::no_such_file_or_directory) refuse_what_is_no_file(file);
    if (failure)
      add(concat(file.string(), ": ", failure.message(), "; expected a file of ", bytes, " bytes"));
    else
      add(concat(file.string(), ": has ", found, " bytes, expected ", bytes));
  }

  bool is_hopeless() const { return faults_ >= kMostFaults; }

  void finish() const {
    if (faults_ == 0) return;
    const std::string more = is_hopeless() ? concat(" (and ", faults_ - 1, " or more other files)")
                             : faults_ > 1 ? concat(" (and ", faults_ - 1, " more files)")
                                           : "";
    throw Error(concat(first_, more, "; is config.ini this model's, and was the copy complete?"));
  }

 private:
  void add(std::string fault) {
    if (faults_++ == 0) first_ = std::move(fault);
  }

  std::string first_;
  int64_t faults_ = 0;
};

// Rows of the embedding on disk: at least vocab_size; padded to a multiple of the ranks since
// v0.0.6, and more than vocab_size where v0.0.2 to v0.0.5 wrote the tokenizer's size into
// config.ini.
int64_t count_embedding_rows(const fs::path& file, const ModelConfig& config) {
  std::error_code failure;
  const uint64_t bytes = fs::file_size(file, failure);
  if (failure) {
    refuse_what_is_no_file(file);
    throw Error(concat(file.string(), ": ", failure.message()));
  }
  const uint64_t row_bytes = turbomind_table_bytes(config, 1);
  const auto rows = static_cast<int64_t>(bytes / row_bytes);
  if (bytes % row_bytes == 0 && rows >= config.vocab) return rows;
  refuse_what_is_no_file(file);
  throw Error(concat(file.string(), ": has ", bytes, " bytes, expected at least vocab_size = ",
                     config.vocab, " rows of ", row_bytes, " bytes"));
}

}  // namespace

ModelConfig read_model_config(const IniFile& config) {
  ModelConfig model;
  model.weight_type = weight_type(config);
  if (config.integer("group_size", 0) > 0)
    refuse(config, concat("group_size = ", config.integer("group_size"),
                          ": int4 weights cannot be calibrated; deploy the model again as fp16"));
  model.layers = positive(config, "num_layer", kMostLayers);
  model.heads = positive(config, "head_num", kMostHeads);
  model.kv_heads = config.find("kv_head_num") ? positive(config, "kv_head_num") : model.heads;
  model.head_dim = positive(config, "size_per_head");
  model.hidden = model.heads * model.head_dim;
  model.intermediate = positive(config, "inter_size");
  model.vocab = positive(config, "vocab_size");
  model.stored_ranks = config.find("tensor_para_size") ? positive(config, kKeys.stored_ranks) : 1;
  model.attention_bias = config.integer("attn_bias", 0) != 0;
  model.norm_eps = config.number("norm_eps");
  model.rope_theta = config.number("rope_theta", 10000.0);
  model.rope_scaling_factor = config.number("rope_scaling_factor", 0.0);
  model.use_dynamic_ntk = config.integer("use_dynamic_ntk", 0) != 0;
  model.use_logn_attention = config.integer("use_logn_attn", 0) != 0;
  model.max_position_embeddings = config.integer("max_position_embeddings", 0);
  model.session_length = config.integer("session_len", 0);
  model.start_id = config.integer("start_id", -1);

  const int64_t rotary = config.integer("rotary_embedding", model.head_dim);
  if (rotary != model.head_dim)
    refuse(config, concat("rotary_embedding = ", rotary, ", expected size_per_head = ",
                          model.head_dim, ": partial rotation is not supported"));
  check_model(model, kKeys, config.origin());
  return model;
}

TurboMindDirectory TurboMindDirectory::open(const fs::path& path) {
  if (kind_behind(path) != FileKind::kDirectory)
    throw Error(concat(path.string(), ": not a directory; --weights wants the folder that holds ",
                       "config.ini, as workspace/triton_models/weights"));
  TurboMindDirectory directory(path, IniFile::read(path / kTurboMindConfig));
  for (const auto& entry : fs::directory_iterator(path)) {
    if (entry.path().extension() == ".qweight")
      throw Error(concat(entry.path().string(), ": int4 weights cannot be calibrated; deploy the ",
                         "model again as fp16 or bf16, calibrate that, and copy the scale files"));
  }
  directory.config_ = read_model_config(directory.config_file_);
  const ModelConfig& config = directory.config_;
  directory.layer_files_ = turbomind_layer_files(config, config.stored_ranks);

  SizeCheck check;
  for (int64_t layer = 0; layer < config.layers && !check.is_hopeless(); ++layer) {
    for (const FileRange& range : directory.layer_plan(layer).ranges)
      check.expect(range.file, range.bytes);
    for (const TurboMindLayerFile& file : directory.layer_files_)
      if (file.is_copy) check.expect(path / file.name_in(layer), file.bytes());
  }
  check.expect(path / kTurboMindFinalNorm, turbomind_table_bytes(config, 1));
  check.finish();
  directory.embedding_rows_ = count_embedding_rows(directory.embedding().file, config);
  check.expect(path / kTurboMindHead, turbomind_table_bytes(config, directory.embedding_rows_));
  check.finish();
  return directory;
}

EmbeddingTable TurboMindDirectory::table(const char* file, int64_t rows) const {
  return {path_ / file, 0, rows, element_type(config_.weight_type)};
}

EmbeddingTable TurboMindDirectory::embedding() const {
  return table(kTurboMindEmbedding, embedding_rows_);
}

EmbeddingTable TurboMindDirectory::head() const { return table(kTurboMindHead, embedding_rows_); }

EmbeddingTable TurboMindDirectory::final_norm() const { return table(kTurboMindFinalNorm, 1); }

LayerPlan TurboMindDirectory::layer_plan(int64_t layer) const {
  return plan_of(layer_files_, path_, layer, element_type(config_.weight_type));
}

}  // namespace kvcalib
