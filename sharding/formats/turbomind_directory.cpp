// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/turbomind_directory.h"

#include <algorithm>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kElementBytes = 2;
constexpr uint64_t kImageAlignment = 256;

[[noreturn]] void refuse(const IniFile& config, const std::string& what) {
  throw Error(concat(config.origin(), ": ", what));
}

int64_t positive(const IniFile& config, std::string_view key) {
  const int64_t value = config.integer(key);
  if (value <= 0) refuse(config, concat(key, " = ", value, ", expected a positive number"));
  return value;
}

WeightType weight_type(const IniFile& config) {
  const std::string type = config.find("weight_type").value_or("fp16");
  if (type == "fp16") return WeightType::kFloat16;
  if (type == "bf16") return WeightType::kBFloat16;
  if (type == "int4")
    refuse(config,
           "weight_type = int4: quantised weights cannot be calibrated; deploy the model again as "
           "fp16 or bf16, calibrate that, and copy the scale files into this directory");
  refuse(config, concat("weight_type = ", type, ", expected fp16 or bf16"));
}

void check_divisible(const IniFile& config, std::string_view key, int64_t value, int64_t ranks) {
  if (value % ranks != 0)
    refuse(config, concat(key, " = ", value, " is not divisible by tensor_para_size = ", ranks));
}

// The files of one layer in a fixed order, each with rows, columns and the blocks it fills.
class PlanBuilder {
 public:
  PlanBuilder(const fs::path& directory, int64_t layer, ElementType type)
      : prefix_((directory / concat("layers.", layer, ".")).string()), type_(type) {}

  // A file of [rows, columns]; the blocks that follow lie in it.
  PlanBuilder& file(const std::string& name, int64_t rows, int64_t columns) {
    const auto bytes = static_cast<uint64_t>(rows * columns) * kElementBytes;
    offset_ = plan_.image_bytes;
    columns_ = columns;
    plan_.ranges.push_back({prefix_ + name, 0, bytes, offset_, type_});
    plan_.image_bytes += (bytes + kImageAlignment - 1) / kImageAlignment * kImageAlignment;
    return *this;
  }

  // Columns [first, first + columns) of the file's rows, to be found at (row, column) of the whole
  // tensor.
  PlanBuilder& block(LayerTensor tensor, int64_t first, int64_t row, int64_t column, int64_t rows,
                     int64_t columns) {
    plan_.blocks.push_back({tensor, row, column, rows, columns,
                            offset_ + static_cast<uint64_t>(first) * kElementBytes, columns_, 1, 1,
                            type_});
    return *this;
  }

  LayerPlan take() { return std::move(plan_); }

 private:
  std::string prefix_;
  ElementType type_;
  LayerPlan plan_;
  uint64_t offset_ = 0;
  int64_t columns_ = 0;
};

// One rank's w_qkv, weight or bias: its q heads | its k heads | its v heads.
void add_qkv(PlanBuilder& builder, const ModelConfig& config, int64_t rank, bool bias) {
  const int64_t ranks = config.stored_ranks;
  const int64_t q = config.heads * config.head_dim / ranks;
  const int64_t kv = config.kv_heads * config.head_dim / ranks;
  const int64_t rows = bias ? 1 : config.hidden;
  const LayerTensor tensor = bias ? LayerTensor::kQkvBias : LayerTensor::kQkv;
  builder.file(concat("attention.w_qkv.", rank, bias ? ".bias" : ".weight"), rows, q + 2 * kv)
      .block(tensor, 0, 0, rank * q, rows, q)
      .block(tensor, q, 0, ranks * q + rank * kv, rows, kv)
      .block(tensor, q + kv, 0, ranks * (q + kv) + rank * kv, rows, kv);
}

void add_rank(PlanBuilder& builder, const ModelConfig& config, int64_t rank) {
  const int64_t hidden = config.hidden;
  const int64_t out_rows = config.heads * config.head_dim / config.stored_ranks;
  const int64_t inner = config.intermediate / config.stored_ranks;
  add_qkv(builder, config, rank, false);
  if (config.attention_bias) add_qkv(builder, config, rank, true);
  builder.file(concat("attention.wo.", rank, ".weight"), out_rows, hidden)
      .block(LayerTensor::kOutput, 0, rank * out_rows, 0, out_rows, hidden);
  if (config.attention_bias && rank == 0)  // every rank holds the same copy
    builder.file("attention.wo.0.bias", 1, hidden)
        .block(LayerTensor::kOutputBias, 0, 0, 0, 1, hidden);
  builder.file(concat("feed_forward.w1.", rank, ".weight"), hidden, inner)
      .block(LayerTensor::kGateUp, 0, 0, rank * inner, hidden, inner);
  builder.file(concat("feed_forward.w3.", rank, ".weight"), hidden, inner)
      .block(LayerTensor::kGateUp, 0, 0, config.intermediate + rank * inner, hidden, inner);
  builder.file(concat("feed_forward.w2.", rank, ".weight"), inner, hidden)
      .block(LayerTensor::kDown, 0, rank * inner, 0, inner, hidden);
}

// Collects what is wrong with the files, so that one run shows the extent of it.
class SizeCheck {
 public:
  void expect(const fs::path& file, uint64_t bytes) {
    std::error_code failure;
    const uint64_t found = fs::file_size(file, failure);
    if (failure)
      add(concat(file.string(), ": ", failure.message(), "; expected a file of ", bytes, " bytes"));
    else if (found != bytes)
      add(concat(file.string(), ": has ", found, " bytes, expected ", bytes));
  }

  void finish() const {
    if (faults_ == 0) return;
    const std::string more = faults_ > 1 ? concat(" (and ", faults_ - 1, " more files)") : "";
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
  if (failure) throw Error(concat(file.string(), ": ", failure.message()));
  const auto row_bytes = static_cast<uint64_t>(config.hidden) * kElementBytes;
  const auto rows = static_cast<int64_t>(bytes / row_bytes);
  if (bytes % row_bytes != 0 || rows < config.vocab)
    throw Error(concat(file.string(), ": has ", bytes, " bytes, expected at least vocab_size = ",
                       config.vocab, " rows of ", row_bytes, " bytes"));
  return rows;
}

}  // namespace

ModelConfig read_model_config(const IniFile& config) {
  ModelConfig model;
  model.weight_type = weight_type(config);
  if (config.integer("group_size", 0) > 0)
    refuse(config, concat("group_size = ", config.integer("group_size"),
                          ": int4 weights cannot be calibrated; deploy the model again as fp16"));
  model.layers = positive(config, "num_layer");
  model.heads = positive(config, "head_num");
  model.kv_heads = config.find("kv_head_num") ? positive(config, "kv_head_num") : model.heads;
  model.head_dim = positive(config, "size_per_head");
  model.hidden = model.heads * model.head_dim;
  model.intermediate = positive(config, "inter_size");
  model.vocab = positive(config, "vocab_size");
  model.stored_ranks = config.find("tensor_para_size") ? positive(config, "tensor_para_size") : 1;
  model.attention_bias = config.integer("attn_bias", 0) != 0;
  model.norm_eps = config.number("norm_eps");
  model.rope_theta = config.number("rope_theta", 10000.0);
  model.rope_scaling_factor = config.number("rope_scaling_factor", 0.0);
  model.use_dynamic_ntk = config.integer("use_dynamic_ntk", 0) != 0;
  model.use_logn_attention = config.integer("use_logn_attn", 0) != 0;
  model.max_position_embeddings = config.integer("max_position_embeddings", 0);
  model.session_length = config.integer("session_len", 0);

  const int64_t rotary = config.integer("rotary_embedding", model.head_dim);
  if (rotary != model.head_dim)
    refuse(config, concat("rotary_embedding = ", rotary, ", expected size_per_head = ",
                          model.head_dim, ": partial rotation is not supported"));
  if (model.head_dim % 2 != 0 || model.head_dim > 256)
    refuse(config,
           concat("size_per_head = ", model.head_dim, ", expected an even number up to 256"));
  if (model.heads % model.kv_heads != 0)
    refuse(config, concat("head_num = ", model.heads,
                          " is not divisible by kv_head_num = ", model.kv_heads));
  if (model.norm_eps <= 0) refuse(config, concat("norm_eps = ", model.norm_eps, ", expected > 0"));
  if (model.rope_theta <= 0)
    refuse(config, concat("rope_theta = ", model.rope_theta, ", expected > 0"));
  check_divisible(config, "head_num", model.heads, model.stored_ranks);
  check_divisible(config, "kv_head_num", model.kv_heads, model.stored_ranks);
  check_divisible(config, "inter_size", model.intermediate, model.stored_ranks);
  return model;
}

TurboMindDirectory TurboMindDirectory::open(const fs::path& path) {
  if (!fs::is_directory(path))
    throw Error(concat(path.string(), ": not a directory; --weights wants the folder that holds ",
                       "config.ini, as workspace/triton_models/weights"));
  TurboMindDirectory directory(path, IniFile::read(path / "config.ini"));
  for (const auto& entry : fs::directory_iterator(path)) {
    if (entry.path().extension() == ".qweight")
      throw Error(concat(entry.path().string(), ": int4 weights cannot be calibrated; deploy the ",
                         "model again as fp16 or bf16, calibrate that, and copy the scale files"));
  }
  directory.config_ = read_model_config(directory.config_file_);
  const ModelConfig& config = directory.config_;

  SizeCheck check;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    for (const FileRange& range : directory.layer_plan(layer).ranges)
      check.expect(range.file, range.bytes);
    for (int64_t rank = 1; config.attention_bias && rank < config.stored_ranks; ++rank)
      check.expect(path / concat("layers.", layer, ".attention.wo.", rank, ".bias"),
                   static_cast<uint64_t>(config.hidden) * kElementBytes);
  }
  check.expect(path / "norm.weight", static_cast<uint64_t>(config.hidden) * kElementBytes);
  check.finish();
  directory.embedding_rows_ = count_embedding_rows(directory.embedding().file, config);
  check.expect(path / "output.weight",
               static_cast<uint64_t>(directory.embedding_rows_ * config.hidden) * kElementBytes);
  check.finish();
  return directory;
}

EmbeddingTable TurboMindDirectory::table(const char* file, int64_t rows) const {
  return {path_ / file, 0, rows, element_type(config_.weight_type)};
}

EmbeddingTable TurboMindDirectory::embedding() const {
  return table("tok_embeddings.weight", embedding_rows_);
}

EmbeddingTable TurboMindDirectory::head() const { return table("output.weight", embedding_rows_); }

EmbeddingTable TurboMindDirectory::final_norm() const { return table("norm.weight", 1); }

LayerPlan TurboMindDirectory::layer_plan(int64_t layer) const {
  PlanBuilder builder(path_, layer, element_type(config_.weight_type));
  builder.file("attention_norm.weight", 1, config_.hidden)
      .block(LayerTensor::kAttentionNorm, 0, 0, 0, 1, config_.hidden);
  builder.file("ffn_norm.weight", 1, config_.hidden)
      .block(LayerTensor::kFfnNorm, 0, 0, 0, 1, config_.hidden);
  for (int64_t rank = 0; rank < config_.stored_ranks; ++rank) add_rank(builder, config_, rank);
  return builder.take();
}

}  // namespace kvcalib
