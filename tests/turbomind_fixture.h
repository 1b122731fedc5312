// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "sharding/files/error.h"
#include "sharding/formats/layer_plan.h"

namespace kvcalib::fixture {

// A folder that is removed with the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "kvcalib-test-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// A small model whose every element is known by its place in the whole tensor: the oracle for how
// it is cut.
inline ModelConfig small_model() {
  ModelConfig config;
  config.layers = 3;
  config.heads = 4;
  config.kv_heads = 4;
  config.head_dim = 16;
  config.hidden = 64;
  config.intermediate = 96;
  config.vocab = 50;
  config.norm_eps = 1e-5;
  return config;
}

// The 16 bits at (row, column) of a whole tensor: float16 of magnitude 1/32 to 1/2, never NaN or
// Inf; norms about 1.
inline uint16_t element_bits(int64_t layer, int64_t tensor, int64_t row, int64_t column) {
  uint64_t x = static_cast<uint64_t>(((layer * 16 + tensor) * 4096 + row) * 8192 + column);
  x = (x + 0x9e3779b97f4a7c15ULL) * 0xbf58476d1ce4e5b9ULL;
  x ^= x >> 29;
  x *= 0x94d049bb133111ebULL;
  x ^= x >> 32;
  const bool norm = tensor == static_cast<int64_t>(LayerTensor::kAttentionNorm) ||
                    tensor == static_cast<int64_t>(LayerTensor::kFfnNorm);
  const uint64_t exponent = norm ? 15 : 10 + (x >> 11) % 4;
  const uint64_t sign = norm ? 0 : (x >> 10 & 1) << 15;
  return static_cast<uint16_t>(sign | exponent << 10 | (x & 0x3ff));
}

inline void write_file(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline void write_elements(const std::filesystem::path& path, int64_t rows, int64_t columns,
                           const std::function<uint16_t(int64_t, int64_t)>& element) {
  std::vector<uint16_t> values;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column) values.push_back(element(row, column));
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(values.data()),
             static_cast<std::streamsize>(2 * values.size()));
}

inline std::string config_text(const ModelConfig& c) {
  return concat("[llama]\nmodel_name = llama2\nhead_num = ", c.heads,
                "\nkv_head_num = ", c.kv_heads, "\nsize_per_head = ", c.head_dim,
                "\nvocab_size = ", c.vocab, "\nnum_layer = ", c.layers,
                "\nrotary_embedding = ", c.head_dim, "\ninter_size = ", c.intermediate,
                "\nnorm_eps = ", c.norm_eps, "\nattn_bias = ", c.attention_bias ? 1 : 0,
                "\nweight_type = ", c.weight_type == WeightType::kFloat16 ? "fp16" : "bf16",
                "\nsession_len = 2056\nuse_context_fmha = 1\nquant_policy = 0\ntensor_para_size = ",
                c.stored_ranks, "\n\n");
}

// Cuts the model for config.stored_ranks by hand, file by file, as the format page says
// (sections 1.2 and 1.4).
inline void write_weights(const std::filesystem::path& folder, const ModelConfig& c) {
  std::filesystem::create_directories(folder);
  write_file(folder / "config.ini", config_text(c));
  const int64_t ranks = c.stored_ranks, d = c.head_dim, h = c.hidden;
  const int64_t q = c.heads * d / ranks, kv = c.kv_heads * d / ranks,
                inner = c.intermediate / ranks;
  const int64_t padded = (c.vocab + ranks - 1) / ranks * ranks;
  const auto whole = [](int64_t layer, LayerTensor tensor) {
    return [=](int64_t row, int64_t column) {
      return element_bits(layer, static_cast<int64_t>(tensor), row, column);
    };
  };
  const auto table = [&](int64_t row, int64_t column) {
    return row < c.vocab ? element_bits(99, 9, row, column) : uint16_t{0};
  };
  write_elements(folder / "tok_embeddings.weight", padded, h, table);
  write_elements(folder / "output.weight", padded, h, table);
  write_elements(folder / "norm.weight", 1, h, whole(99, LayerTensor::kAttentionNorm));
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    const std::string prefix = concat("layers.", layer, ".");
    const auto path = [&](const std::string& name) { return folder / (prefix + name); };
    write_elements(path("attention_norm.weight"), 1, h, whole(layer, LayerTensor::kAttentionNorm));
    write_elements(path("ffn_norm.weight"), 1, h, whole(layer, LayerTensor::kFfnNorm));
    for (int64_t r = 0; r < ranks; ++r) {
      const auto qkv_column = [&](int64_t column) {
        if (column < q) return r * q + column;
        if (column < q + kv) return ranks * q + r * kv + column - q;
        return ranks * (q + kv) + r * kv + column - q - kv;
      };
      const auto qkv = whole(layer, LayerTensor::kQkv), bias = whole(layer, LayerTensor::kQkvBias);
      const auto out = whole(layer, LayerTensor::kOutput), down = whole(layer, LayerTensor::kDown);
      const auto gate_up = whole(layer, LayerTensor::kGateUp);
      write_elements(path(concat("attention.w_qkv.", r, ".weight")), h, q + 2 * kv,
                     [&](int64_t i, int64_t j) { return qkv(i, qkv_column(j)); });
      write_elements(path(concat("attention.wo.", r, ".weight")), q, h,
                     [&](int64_t i, int64_t j) { return out(r * q + i, j); });
      write_elements(path(concat("feed_forward.w1.", r, ".weight")), h, inner,
                     [&](int64_t i, int64_t j) { return gate_up(i, r * inner + j); });
      write_elements(
          path(concat("feed_forward.w3.", r, ".weight")), h, inner,
          [&](int64_t i, int64_t j) { return gate_up(i, c.intermediate + r * inner + j); });
      write_elements(path(concat("feed_forward.w2.", r, ".weight")), inner, h,
                     [&](int64_t i, int64_t j) { return down(r * inner + i, j); });
      if (!c.attention_bias) continue;
      write_elements(path(concat("attention.w_qkv.", r, ".bias")), 1, q + 2 * kv,
                     [&](int64_t i, int64_t j) { return bias(i, qkv_column(j)); });
      write_elements(path(concat("attention.wo.", r, ".bias")), 1, h,
                     whole(layer, LayerTensor::kOutputBias));
    }
  }
}

}  // namespace kvcalib::fixture
