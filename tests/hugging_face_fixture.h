// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/numeric.h"
#include "sharding/files/safetensors.h"
#include "tests/safetensors_bytes.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib::fixture {

// How a test wants its Hugging Face directory; the model itself is a ModelConfig.
struct HuggingFaceModel {
  std::string architecture = "LlamaForCausalLM";
  std::string dtype = "F16";  // of all tensors: F16, BF16 or F32
  bool tied = false;
  bool has_head = true;
  int files = 1;                       // more than one: with an index
  nlohmann::json config_changes = {};  // merged into config.json; null removes a key
};

inline ModelConfig biased_model() {
  ModelConfig config = small_model();
  config.attention_bias = true;
  return config;
}

struct ModuleNames {
  std::string embedding = "model.embed_tokens", final_norm = "model.norm", head = "lm_head";
  std::string layers = "model.layers", attention_norm = "input_layernorm";
  std::string ffn_norm = "post_attention_layernorm", fused, output = "self_attn.o_proj";
  std::string gate = "mlp.gate_proj", up = "mlp.up_proj", down = "mlp.down_proj";
};

inline ModuleNames module_names(const std::string& architecture) {
  if (architecture == "InternLM2ForCausalLM")
    return {"model.tok_embeddings", "model.norm",      "output",         "model.layers",
            "attention_norm",       "ffn_norm",        "attention.wqkv", "attention.wo",
            "feed_forward.w1",      "feed_forward.w3", "feed_forward.w2"};
  if (architecture == "QWenLMHeadModel")
    return {"transformer.wte", "transformer.ln_f", "lm_head", "transformer.h", "ln_1",      "ln_2",
            "attn.c_attn",     "attn.c_proj",      "mlp.w2",  "mlp.w1",        "mlp.c_proj"};
  ModuleNames names;
  if (architecture.starts_with("Baichuan") || architecture.starts_with("BaiChuan"))
    names.fused = "self_attn.W_pack";
  return names;
}

// Where a half-rotated row of q or k is among the interleaved ones.
inline int64_t interleaved(int64_t row, int64_t head_dim) {
  const int64_t within = row % head_dim, half = head_dim / 2;
  return row - within + (within < half ? 2 * within : 2 * (within - half) + 1);
}

// The column of [q | k | v] that stored row `row` of the three end to end, or of the fused one, is.
inline int64_t qkv_column(const ModelConfig& c, const std::string& architecture, int64_t row) {
  const int64_t d = c.head_dim, q = c.heads * d, kv = c.kv_heads * d;
  if (architecture != "InternLM2ForCausalLM") return row < q + kv ? interleaved(row, d) : row;
  const int64_t queries = c.heads / c.kv_heads;
  const int64_t group = row / ((queries + 2) * d), within = row % ((queries + 2) * d);
  if (within < queries * d) return interleaved(group * queries * d + within, d);
  if (within < (queries + 1) * d) return q + interleaved(group * d + within % d, d);
  return q + kv + group * d + within % d;
}

// Writes a directory file by file; elements are those of element_bits at their place in the whole
// tensors, [in, out], as the engine wants them.
class HuggingFaceWriter {
 public:
  using Element = std::function<uint16_t(int64_t row, int64_t column)>;

  HuggingFaceWriter(const ModelConfig& config, const HuggingFaceModel& model)
      : c_(config), model_(model), names_(module_names(model.architecture)), files_(model.files) {}

  void write(const std::filesystem::path& folder) {
    std::filesystem::create_directories(folder);
    write_file(folder / "config.json", config_json().dump(2));
    const Element table = [](int64_t row, int64_t column) {
      return element_bits(99, 9, row, column);
    };
    add(names_.embedding + ".weight", {c_.vocab, c_.hidden}, table);
    if (model_.has_head) add(names_.head + ".weight", {c_.vocab, c_.hidden}, table);
    add_vector(names_.final_norm + ".weight", c_.hidden, whole(99, LayerTensor::kAttentionNorm));
    for (int64_t layer = 0; layer < c_.layers; ++layer) add_layer(layer);
    write_files(folder);
  }

 private:
  static Element whole(int64_t layer, LayerTensor tensor) {
    return [=](int64_t row, int64_t column) {
      return element_bits(layer, static_cast<int64_t>(tensor), row, column);
    };
  }

  nlohmann::json config_json() const {
    const bool is_qwen = model_.architecture == "QWenLMHeadModel";
    nlohmann::json json = {
        {"architectures", {model_.architecture}},
        {"hidden_act", "silu"},
        {"hidden_size", c_.hidden},
        {"num_hidden_layers", c_.layers},
        {"num_attention_heads", c_.heads},
        {"vocab_size", c_.vocab},
        {"max_position_embeddings", 2048},
        {"tie_word_embeddings", model_.tied},
        {"torch_dtype", c_.weight_type == WeightType::kFloat16 ? "float16" : "bfloat16"}};
    json[is_qwen ? "layer_norm_epsilon" : "rms_norm_eps"] = c_.norm_eps;
    json["intermediate_size"] = c_.intermediate * (is_qwen ? 2 : 1);
    if (c_.kv_heads != c_.heads) json["num_key_value_heads"] = c_.kv_heads;
    if (c_.heads * c_.head_dim != c_.hidden) json["head_dim"] = c_.head_dim;
    if (is_qwen) json["seq_length"] = 1024;
    if (model_.architecture.starts_with("InternLM")) json["bias"] = c_.attention_bias;
    if (model_.architecture == "LlamaForCausalLM") json["attention_bias"] = c_.attention_bias;
    if (c_.mlp_bias) json["mlp_bias"] = true;
    json.merge_patch(model_.config_changes.is_null() ? nlohmann::json::object()
                                                     : model_.config_changes);
    return json;
  }

  void add(const std::string& name, std::vector<int64_t> shape, const Element& element) {
    SafetensorsTensor tensor{model_.dtype, std::move(shape), {}};
    const int64_t columns = tensor.shape.size() > 1 ? tensor.shape[1] : 1;
    for (int64_t row = 0; row < tensor.shape[0]; ++row) {
      for (int64_t column = 0; column < columns; ++column)
        append(tensor.bytes, element(row, column));
    }
    files_[static_cast<size_t>(added_++) % files_.size()].tensors[name] = std::move(tensor);
  }

  void append(std::string& bytes, uint16_t bits) const {
    char raw[4];
    const float value = kernels::to_float(kernels::Half{bits});
    const bool wide = model_.dtype == "F32";
    std::memcpy(raw, wide ? static_cast<const void*>(&value) : &bits, wide ? 4 : 2);
    bytes.append(raw, wide ? 4 : 2);
  }

  void add_vector(const std::string& name, int64_t size, const Element& element) {
    add(name, {size}, [&](int64_t row, int64_t) { return element(0, row); });
  }

  // [out, in] of a whole tensor's columns from `first` on.
  void add_matrix(const std::string& name, int64_t out, int64_t in, const Element& element,
                  int64_t first = 0) {
    add(name, {out, in}, [&](int64_t row, int64_t column) { return element(column, first + row); });
  }

  // Rows [first, first + count) of q, k and v end to end, or of the fused tensor.
  void add_qkv(int64_t layer, const std::string& module, int64_t first, int64_t count) {
    const auto column = [&](int64_t row) {
      return qkv_column(c_, model_.architecture, first + row);
    };
    const Element weight = whole(layer, LayerTensor::kQkv);
    const Element bias = whole(layer, LayerTensor::kQkvBias);
    add(module + ".weight", {count, c_.hidden},
        [&](int64_t row, int64_t in) { return weight(in, column(row)); });
    if (c_.attention_bias)
      add(module + ".bias", {count}, [&](int64_t row, int64_t) { return bias(0, column(row)); });
  }

  void add_layer(int64_t layer) {
    const int64_t d = c_.head_dim, q = c_.heads * d, kv = c_.kv_heads * d;
    const std::string prefix = concat(names_.layers, ".", layer, ".");
    const Element gate_up = whole(layer, LayerTensor::kGateUp);
    if (names_.fused.empty()) {
      add_qkv(layer, prefix + "self_attn.q_proj", 0, q);
      add_qkv(layer, prefix + "self_attn.k_proj", q, kv);
      add_qkv(layer, prefix + "self_attn.v_proj", q + kv, kv);
    } else {
      add_qkv(layer, prefix + names_.fused, 0, q + 2 * kv);
    }
    add_vector(prefix + names_.attention_norm + ".weight", c_.hidden,
               whole(layer, LayerTensor::kAttentionNorm));
    add_vector(prefix + names_.ffn_norm + ".weight", c_.hidden,
               whole(layer, LayerTensor::kFfnNorm));
    add_matrix(prefix + names_.output + ".weight", c_.hidden, q,
               whole(layer, LayerTensor::kOutput));
    if (c_.attention_bias && !model_.architecture.starts_with("Q"))
      add_vector(prefix + names_.output + ".bias", c_.hidden,
                 whole(layer, LayerTensor::kOutputBias));
    add_matrix(prefix + names_.gate + ".weight", c_.intermediate, c_.hidden, gate_up);
    add_matrix(prefix + names_.up + ".weight", c_.intermediate, c_.hidden, gate_up,
               c_.intermediate);
    add_matrix(prefix + names_.down + ".weight", c_.hidden, c_.intermediate,
               whole(layer, LayerTensor::kDown));
    if (c_.mlp_bias) {
      const Element bias = whole(layer, LayerTensor::kGateUpBias);
      add_vector(prefix + names_.gate + ".bias", c_.intermediate, bias);
      add(prefix + names_.up + ".bias", {c_.intermediate},
          [&](int64_t row, int64_t) { return bias(0, c_.intermediate + row); });
      add_vector(prefix + names_.down + ".bias", c_.hidden, whole(layer, LayerTensor::kDownBias));
    }
    if (!c_.query_key_norm) return;
    for (const auto& [name, tensor] :
         {std::pair("self_attn.q_norm.weight", LayerTensor::kQueryNorm),
          std::pair("self_attn.k_norm.weight", LayerTensor::kKeyNorm)})
      add(prefix + name, {d}, [&, tensor = tensor](int64_t row, int64_t) {
        return whole(layer, tensor)(0, interleaved(row, d));
      });
  }

  void write_files(const std::filesystem::path& folder) const {
    if (files_.size() == 1) {
      write_file(folder / "model.safetensors", safetensors_bytes(files_[0]));
      return;
    }
    nlohmann::json weight_map;
    for (size_t i = 0; i < files_.size(); ++i) {
      const std::string name =
          concat("model-0000", i + 1, "-of-0000", files_.size(), ".safetensors");
      write_file(folder / name, safetensors_bytes(files_[i]));
      for (const auto& [tensor, value] : files_[i].tensors) weight_map[tensor] = name;
    }
    write_file(folder / "model.safetensors.index.json",
               nlohmann::json({{"metadata", {}}, {"weight_map", weight_map}}).dump());
  }

  const ModelConfig& c_;
  const HuggingFaceModel& model_;
  const ModuleNames names_;
  std::vector<Safetensors> files_;
  int64_t added_ = 0;
};

inline void write_hugging_face(const std::filesystem::path& folder, const ModelConfig& config,
                               const HuggingFaceModel& model = {}) {
  HuggingFaceWriter(config, model).write(folder);
}

}  // namespace kvcalib::fixture
