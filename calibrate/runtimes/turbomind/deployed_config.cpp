// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/deployed_config.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <numeric>
#include <string_view>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

using Release = RuntimeRelease;
using Kind = RopeScaling::Kind;

constexpr int64_t kHeadDim = 128;
constexpr int64_t kExtraSession = 8;  // converters add it to the template's
constexpr Release kFirst(0, 0, 2);
constexpr Release kEnd(0, 4, 0);
constexpr Release kPads(0, 0, 6);  // and knows dynamic NTK and logn
constexpr Release kKnowsTheta(0, 0, 8);
constexpr Release kPowersOfTwo(0, 0, 11);
constexpr Release kConverter(0, 0, 14);  // another program with another order of keys
constexpr Release kPaged(0, 1, 0);       // and bfloat16
constexpr Release kKnowsFactor(0, 1, 0);
constexpr Release kChunks(0, 2, 0);
constexpr Release kFreeShare(0, 2, 2);
constexpr Release kKnowsLinear(0, 3, 0);

// A key of config.ini in releases [first, end).  An empty value comes from the model.
struct Key {
  std::string_view name;
  std::string_view value;
  Release first = kFirst;
  Release end = kEnd;
};

// v0.0.2 to v0.0.13: deploy.py.
constexpr Key kDeployKeys[] = {
    {"model_name", ""},
    {"head_num", ""},
    {"kv_head_num", ""},
    {"size_per_head", ""},
    {"vocab_size", ""},
    {"num_layer", ""},
    {"rotary_embedding", ""},
    {"rope_theta", "", kKnowsTheta},
    {"inter_size", ""},
    {"norm_eps", ""},
    {"attn_bias", ""},
    {"start_id", ""},
    {"end_id", ""},
    {"weight_type", ""},
    {"group_size", "0", Release(0, 0, 4)},
    {"max_batch_size", "32"},
    {"max_context_token_num", "4"},
    {"session_len", ""},
    {"step_length", "1"},
    {"cache_max_entry_count", "48"},
    {"cache_chunk_size", "1"},
    {"use_context_fmha", "1"},
    {"quant_policy", "0"},
    {"tensor_para_size", ""},
    {"max_position_embeddings", "", kPads},
    {"use_dynamic_ntk", "", kPads},
    {"use_logn_attn", "", kPads},
};

// v0.0.14 to v0.3.0: lmdeploy convert.
constexpr Key kConvertKeys[] = {
    {"model_name", ""},
    {"tensor_para_size", ""},
    {"head_num", ""},
    {"kv_head_num", ""},
    {"vocab_size", ""},
    {"num_layer", ""},
    {"inter_size", ""},
    {"norm_eps", ""},
    {"attn_bias", ""},
    {"start_id", ""},
    {"end_id", ""},
    {"session_len", ""},
    {"weight_type", ""},
    {"rotary_embedding", ""},
    {"rope_theta", ""},
    {"size_per_head", ""},
    {"group_size", "0"},
    {"max_batch_size", "32", kFirst, kPaged},
    {"max_batch_size", "64", kPaged},
    {"max_context_token_num", "4", kFirst, kPaged},
    {"max_context_token_num", "1", kPaged},
    {"step_length", "1"},
    {"cache_max_entry_count", "48", kFirst, kPaged},
    {"cache_max_entry_count", "0.5", kPaged, kFreeShare},
    {"cache_max_entry_count", "0.8", kFreeShare},
    {"cache_block_seq_len", "128", kPaged, kKnowsLinear},
    {"cache_block_seq_len", "64", kKnowsLinear},
    {"cache_chunk_size", "1", kFirst, kChunks},
    {"cache_chunk_size", "-1", kChunks},
    {"num_tokens_per_iter", "0", kChunks},
    {"max_prefill_iters", "1", kChunks},
    {"extra_tokens_per_iter", "0", kChunks},
    {"use_context_fmha", "1"},
    {"quant_policy", "0"},
    {"max_position_embeddings", ""},
    {"rope_scaling_factor", "", kKnowsFactor},
    {"use_dynamic_ntk", "", kFirst, kPaged},
    {"use_dynamic_ntk", "", kKnowsLinear},
    {"use_logn_attn", ""},
};

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

Kind scaling_kind(const ModelConfig& model) {
  return model.own_rotation ? model.own_rotation->kind : Kind::kNone;
}

std::map<std::string_view, std::string> values_of(const ModelConfig& model, const Release& release,
                                                  const DeployChoices& choices) {
  const Kind kind = scaling_kind(model);
  const bool scaled = kind == Kind::kLinear || kind == Kind::kDynamic;
  const bool bfloat16 = deployed_type(model, release) == WeightType::kBFloat16;
  return {
      {"model_name", choices.model_name},
      {"tensor_para_size", concat(choices.ranks)},
      {"head_num", concat(model.heads)},
      {"kv_head_num", concat(model.kv_heads)},
      {"size_per_head", concat(model.head_dim)},
      {"vocab_size", concat(choices.vocab)},
      {"num_layer", concat(model.layers)},
      {"rotary_embedding", concat(model.head_dim)},
      {"rope_theta", python_float(model.rope_theta)},
      {"inter_size", concat(model.intermediate)},
      {"norm_eps", python_float(model.norm_eps)},
      {"attn_bias", model.attention_bias ? "1" : "0"},
      {"start_id", concat(choices.start_id)},
      {"end_id", concat(choices.end_id)},
      {"weight_type", bfloat16 ? "bf16" : "fp16"},
      {"session_len", concat(session_length(choices.model_name) + kExtraSession)},
      {"max_position_embeddings", concat(model.max_position_embeddings)},
      {"rope_scaling_factor", python_float(scaled ? model.own_rotation->factor : 0.0)},
      {"use_dynamic_ntk", kind == Kind::kDynamic || kind == Kind::kQwen ? "1" : "0"},
      {"use_logn_attn", model.use_logn_attention ? "1" : "0"},
  };
}

void add_shape_faults(const ModelConfig& model, std::vector<std::string>& faults) {
  if (model.head_dim != kHeadDim)
    faults.push_back(concat("heads of ", model.head_dim, " channels: TurboMind's have ", kHeadDim,
                            "; no release serves this model"));
  else if (model.hidden != model.heads * model.head_dim)
    faults.push_back(concat("a hidden size of ", model.hidden, ", but ", model.heads, " heads of ",
                            kHeadDim, " channels: TurboMind knows no other hidden size than ",
                            model.heads * model.head_dim, "; no release serves this model"));
  if (model.query_key_norm)
    faults.push_back("q and k are normalised by head: no release up to v0.3.0 does that");
  if (model.sliding_window > 0 && model.sliding_window < model.max_position_embeddings)
    faults.push_back(concat("attention through a sliding window of ", model.sliding_window, " of ",
                            model.max_position_embeddings, " positions: no release up to v0.3.0 ",
                            "does that"));
}

void add_rotation_faults(const ModelConfig& model, const Release& release,
                         std::vector<std::string>& faults) {
  const auto unknown = [&](const char* what, const char* since) {
    faults.push_back(concat(what, ": ", release.name(), " does not know it",
                            *since != 0 ? "; serve with " : "", since));
  };
  if (model.rope_theta != 10000.0 && release < kKnowsTheta)
    unknown("rope_theta other than 10000", "v0.0.8 or later");
  switch (scaling_kind(model)) {
    case Kind::kNone:
      break;
    case Kind::kLinear:
      if (release < kKnowsLinear) unknown("linear rope_scaling", "v0.3.0");
      break;
    case Kind::kDynamic:
    case Kind::kQwen:
      if (release < kPads) unknown("dynamic NTK (rope_scaling)", "v0.0.6 or later");
      break;
    case Kind::kLlama3:
      unknown("rope_scaling of type llama3", "");
      break;
  }
  if (model.use_logn_attention && release < kPads) unknown("use_logn_attn", "v0.0.6 or later");
}

// The numbers of ranks that divide everything that a release cuts.
std::string possible_ranks(int64_t divisor, const Release& release) {
  std::string text;
  for (int64_t ranks = 1; ranks <= divisor; ++ranks) {
    const bool power = (ranks & (ranks - 1)) == 0;
    if (divisor % ranks == 0 && (power || release < kPowersOfTwo))
      text += concat(text.empty() ? "" : ", ", ranks);
  }
  return text;
}

void add_rank_faults(const ModelConfig& model, const Release& release, int64_t ranks,
                     std::vector<std::string>& faults) {
  std::vector<std::pair<const char*, int64_t>> cut = {
      {"heads", model.heads},
      {"kv heads", model.kv_heads},
      {"intermediate channels", model.intermediate}};
  if (release < kPads) cut.emplace_back("tokens of the vocabulary", model.vocab);
  int64_t divisor = 0;
  std::string uneven;
  for (const auto& [name, count] : cut) {
    divisor = std::gcd(divisor, count);
    if (count % ranks != 0) uneven += concat(uneven.empty() ? "" : ", ", count, ' ', name);
  }
  const bool power = (ranks & (ranks - 1)) == 0;
  if (!uneven.empty())
    faults.push_back(concat("--tp ", ranks, ": does not divide ", uneven, "; possible are ",
                            possible_ranks(divisor, release)));
  else if (!power && release >= kPowersOfTwo)
    faults.push_back(concat("--tp ", ranks, ": ", release.name(),
                            " takes powers of two only; possible are ",
                            possible_ranks(divisor, release)));
}

}  // namespace

WeightType deployed_type(const ModelConfig& model, const RuntimeRelease& release) {
  return release < kPaged ? WeightType::kFloat16 : model.weight_type;
}

int64_t deployed_rows(int64_t rows, const RuntimeRelease& release, int64_t ranks) {
  return release < kPads ? rows : (rows + ranks - 1) / ranks * ranks;
}

std::vector<std::string> deploy_faults(const ModelConfig& model, const RuntimeRelease& release,
                                       int64_t ranks) {
  std::vector<std::string> faults;
  add_shape_faults(model, faults);
  add_rotation_faults(model, release, faults);
  add_rank_faults(model, release, ranks, faults);
  return faults;
}

std::string deployed_config(const ModelConfig& model, const RuntimeRelease& release,
                            const DeployChoices& choices) {
  const auto values = values_of(model, release, choices);
  std::string text = "[llama]\n";
  const auto add = [&](const Key& key) {
    if (release < key.first || release >= key.end) return;
    text += concat(key.name, " = ", key.value.empty() ? values.at(key.name) : key.value, '\n');
  };
  if (release < kConverter)
    std::for_each(std::begin(kDeployKeys), std::end(kDeployKeys), add);
  else
    std::for_each(std::begin(kConvertKeys), std::end(kConvertKeys), add);
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
