// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/turbomind_layout.h"

#include <utility>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

// One rank's columns of w_qkv, weight or bias: its q heads | its k heads | its v heads.
std::vector<ColumnSpan> qkv_columns(const ModelConfig& config, int64_t ranks, int64_t rank) {
  const int64_t q = config.heads * config.head_dim / ranks;
  const int64_t kv = config.kv_heads * config.head_dim / ranks;
  return {{rank * q, q}, {ranks * q + rank * kv, kv}, {ranks * (q + kv) + rank * kv, kv}};
}

void add_rank(std::vector<TurboMindLayerFile>& files, const ModelConfig& config, int64_t ranks,
              int64_t rank) {
  const int64_t hidden = config.hidden;
  const int64_t out_rows = config.heads * config.head_dim / ranks;
  const int64_t inner = config.intermediate / ranks;
  const std::vector<ColumnSpan> qkv = qkv_columns(config, ranks, rank);
  const std::vector<ColumnSpan> all{{0, hidden}};
  const auto add = [&](const char* name, const char* kind, LayerTensor tensor, int64_t first_row,
                       int64_t rows, std::vector<ColumnSpan> columns) {
    files.push_back(
        {concat(name, '.', rank, '.', kind), tensor, first_row, rows, std::move(columns)});
  };
  add("attention.w_qkv", "weight", LayerTensor::kQkv, 0, hidden, qkv);
  if (config.attention_bias) add("attention.w_qkv", "bias", LayerTensor::kQkvBias, 0, 1, qkv);
  add("attention.wo", "weight", LayerTensor::kOutput, rank * out_rows, out_rows, all);
  if (config.attention_bias) {
    add("attention.wo", "bias", LayerTensor::kOutputBias, 0, 1, all);
    files.back().is_copy = rank > 0;
  }
  add("feed_forward.w1", "weight", LayerTensor::kGateUp, 0, hidden, {{rank * inner, inner}});
  add("feed_forward.w3", "weight", LayerTensor::kGateUp, 0, hidden,
      {{config.intermediate + rank * inner, inner}});
  add("feed_forward.w2", "weight", LayerTensor::kDown, rank * inner, inner, all);
}

}  // namespace

uint64_t turbomind_table_bytes(const ModelConfig& config, int64_t rows) {
  return static_cast<uint64_t>(rows * config.hidden) * kTurboMindElementBytes;
}

int64_t TurboMindLayerFile::width() const {
  int64_t sum = 0;
  for (const ColumnSpan& span : columns) sum += span.count;
  return sum;
}

uint64_t TurboMindLayerFile::bytes() const {
  return static_cast<uint64_t>(rows * width()) * kTurboMindElementBytes;
}

std::string TurboMindLayerFile::name_in(int64_t layer) const {
  return concat("layers.", layer, '.', name);
}

std::vector<TurboMindLayerFile> turbomind_layer_files(const ModelConfig& config, int64_t ranks) {
  const std::vector<ColumnSpan> all{{0, config.hidden}};
  std::vector<TurboMindLayerFile> files{
      {"attention_norm.weight", LayerTensor::kAttentionNorm, 0, 1, all},
      {"ffn_norm.weight", LayerTensor::kFfnNorm, 0, 1, all}};
  for (int64_t rank = 0; rank < ranks; ++rank) add_rank(files, config, ranks, rank);
  return files;
}

}  // namespace kvcalib
