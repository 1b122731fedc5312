// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/deployed_config.h"

#include <charconv>
#include <map>
#include <string_view>
#include <utility>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr int64_t kExtraSession = 8;  // converters add it to the template's

// Tokens of a session, by chat template; 2048 for those not listed.
int64_t session_length(std::string_view model_name) {
  static const std::map<std::string_view, int64_t> kSessionLengths = {
      {"llama2", 4096},
      {"codellama", 4096},
      {"internlm-20b", 4096},
      {"internlm-chat-20b", 8192},
      {"internlm-chat-7b-8k", 8192},
      {"qwen", 8192},
      {"qwen-7b", 8192},
      {"qwen-14b", 8192},
      {"internlm2", 32768},
      {"internlm2-chat", 32768},
      {"internlm2-7b", 32768},
      {"internlm2-20b", 32768},
      {"internlm2-1_8b", 32768},
      {"internlm2-chat-7b", 32768},
      {"internlm2-chat-20b", 32768},
      {"internlm2-chat-1_8b", 32768},
  };
  const auto found = kSessionLengths.find(model_name);
  return found == kSessionLengths.end() ? 2048 : found->second;
}

// The keys that a release knows.
std::map<std::string_view, std::string> values_of(const ModelConfig& model,
                                                  const TurboMindRelease& release,
                                                  const DeployChoices& choices) {
  const ModelConfig converted = as_converted(model, release);
  const bool bfloat16 = deployed_type(model, release) == WeightType::kBFloat16;
  std::map<std::string_view, std::string> values = {
      {"model_name", choices.model_name},
      {"tensor_para_size", concat(choices.ranks)},
      {"head_num", concat(model.heads)},
      {"kv_head_num", concat(model.kv_heads)},
      {"size_per_head", concat(model.head_dim)},
      {"vocab_size", concat(choices.vocab)},
      {"num_layer", concat(model.layers)},
      {"rotary_embedding", concat(model.head_dim)},
      {"inter_size", concat(model.intermediate)},
      {"norm_eps", python_float(model.norm_eps)},
      {"attn_bias", model.attention_bias ? "1" : "0"},
      {"start_id", concat(choices.start_id)},
      {"end_id", concat(choices.end_id)},
      {"weight_type", bfloat16 ? "bf16" : "fp16"},
      {"session_len", concat(session_length(choices.model_name) + kExtraSession)},
      {"step_length", "1"},
      {"use_context_fmha", "1"},
      {"quant_policy", "0"},
  };
  const auto add = [&](bool known, std::string_view key, std::string value) {
    if (known) values[key] = std::move(value);
  };
  const bool knows_ntk = release.dynamic_ntk != DynamicNtk::kUnknown;
  add(release.reads_rope_theta, "rope_theta", python_float(model.rope_theta));
  add(knows_ntk, "max_position_embeddings", concat(model.max_position_embeddings));
  add(release.reads_rope_scaling_factor, "rope_scaling_factor",
      python_float(converted.rope_scaling_factor));
  add(release.reads_use_dynamic_ntk, "use_dynamic_ntk", converted.use_dynamic_ntk ? "1" : "0");
  add(release.reads_use_logn_attn, "use_logn_attn", model.use_logn_attention ? "1" : "0");
  const ConfigDefaults& fixed = release.config_defaults;
  for (const auto& [key, value] : {std::pair{"group_size", fixed.group_size},
                                   {"max_batch_size", fixed.max_batch_size},
                                   {"max_context_token_num", fixed.max_context_token_num},
                                   {"cache_max_entry_count", fixed.cache_max_entry_count},
                                   {"cache_block_seq_len", fixed.cache_block_seq_len},
                                   {"cache_chunk_size", fixed.cache_chunk_size},
                                   {"num_tokens_per_iter", fixed.num_tokens_per_iter},
                                   {"max_prefill_iters", fixed.max_prefill_iters},
                                   {"extra_tokens_per_iter", fixed.extra_tokens_per_iter}})
    add(!value.empty(), key, std::string(value));
  return values;
}

}  // namespace

ModelConfig as_converted(const ModelConfig& model, const TurboMindRelease& release) {
  ModelConfig converted = model;
  converted.own_rotation.reset();
  if (!model.own_rotation) return converted;
  const RopeScaling& scaling = *model.own_rotation;
  const bool dynamic = scaling.kind == RopeScaling::Kind::kDynamic;
  const bool linear = scaling.kind == RopeScaling::Kind::kLinear && release.scales_linearly;
  converted.use_dynamic_ntk = dynamic || scaling.kind == RopeScaling::Kind::kQwen;
  if (dynamic || linear) converted.rope_scaling_factor = scaling.factor;
  return converted;
}

WeightType deployed_type(const ModelConfig& model, const TurboMindRelease& release) {
  return release.reads_bfloat16 ? model.weight_type : WeightType::kFloat16;
}

int64_t deployed_rows(int64_t rows, const TurboMindRelease& release, int64_t ranks) {
  return release.pads_rows ? (rows + ranks - 1) / ranks * ranks : rows;
}

std::string deployed_config(const ModelConfig& model, const TurboMindRelease& release,
                            const DeployChoices& choices) {
  const auto values = values_of(model, release, choices);
  std::string text = "[llama]\n";
  for (const std::string_view key : release.config_keys) {
    const auto found = values.find(key);
    if (found != values.end()) text += concat(key, " = ", found->second, '\n');
  }
  return text + "\n";
}

std::string python_float(double value) {
  char shortest[32];
  const auto [end, failure] =
      std::to_chars(shortest, shortest + sizeof shortest, value, std::chars_format::scientific);
  const std::string_view text(shortest, static_cast<size_t>(end - shortest));
  const size_t mark = text.find('e');
  const int exponent = std::stoi(std::string(text.substr(mark + 1)));
  if (exponent < -4 || exponent >= 16) return std::string(text);
  std::string plain(64, '\0');
  const auto [last, ignored] =
      std::to_chars(plain.data(), plain.data() + plain.size(), value, std::chars_format::fixed);
  plain.resize(static_cast<size_t>(last - plain.data()));
  return plain.find('.') == std::string::npos ? plain + ".0" : plain;
}

}  // namespace kvcalib
