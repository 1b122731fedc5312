// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/release.h"

#include <charconv>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr const char* kKnown = "v0.0.2 to v0.0.14, v0.1.0, v0.2.0 to v0.2.6, v0.3.0";
constexpr RuntimeRelease kFirstWithExactSizes(0, 0, 4);
constexpr RuntimeRelease kFirstWithPadding(0, 0, 6);
constexpr RuntimeRelease kFirstWithRopeTheta(0, 0, 8);
constexpr RuntimeRelease kFirstPaged(0, 1, 0);
constexpr RuntimeRelease kFirstWithEngineConfig(0, 2, 0);
constexpr RuntimeRelease kFirstWithBFloat16Cache(0, 3, 0);
constexpr int64_t kLongestUnfusedPrefill = 4096;
constexpr int64_t kHeadDim = 128;
constexpr unsigned kLargestNumber = 9999;  // of a release's three

// Takes a number and the dot behind it, if any, from the front of `text`; -1 when there is none.
int take_number(std::string_view& text) {
  unsigned number = 0;
  const auto [stop, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failure != std::errc() || number > kLargestNumber) return -1;
  text.remove_prefix(static_cast<size_t>(stop - text.data()));
  if (text.starts_with('.') && text.size() > 1) text.remove_prefix(1);
  return static_cast<int>(number);
}

bool is_known(int major, int minor, int patch) {
  if (major != 0) return false;
  switch (minor) {
    case 0:
      return patch >= 2 && patch <= 14;
    case 1:
    case 3:
      return patch == 0;
    case 2:
      return patch <= 6;
    default:
      return false;
  }
}

int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

void check_type(const ModelConfig& model, const RuntimeRelease& release, RuntimeFindings& found) {
  if (model.weight_type != WeightType::kBFloat16) return;
  if (release < kFirstPaged) {
    found.faults.push_back(concat("weight_type = bf16: ", release.name(), " reads all weights as ",
                                  "fp16; serve with v0.3.0, or deploy the model as fp16"));
  } else if (release < kFirstWithBFloat16Cache) {
    found.faults.push_back(concat(
        "weight_type = bf16: decoding in ", release.name(), " ignores int8 KV for bf16 models and ",
        "corrupts the cache; serve with v0.3.0, or deploy the model as fp16"));
  } else {
    found.warnings.push_back(concat("weight_type = bf16: ", release.name(),
                                    " has int8 KV for bf16 ",
                                    "only on GPUs of compute capability 8.0 and above"));
  }
}

void check_positions(const ModelConfig& model, const RuntimeRelease& release,
                     RuntimeFindings& found) {
  if (release < kFirstPaged && model.session_length > kLongestUnfusedPrefill) {
    found.faults.push_back(
        concat("session_len = ", model.session_length, ": ", release.name(),
               " prefills int8 KV for up to ", kLongestUnfusedPrefill,
               " tokens only; lower session_len, or serve with v0.1.0 or later"));
  }
  if (release < kFirstWithRopeTheta && model.rope_theta != 10000.0) {
    found.faults.push_back(concat("rope_theta = ", model.rope_theta, ": ", release.name(),
                                  " does not read the key and rotates with 10000; serve with ",
                                  "v0.0.8 or later"));
  }
  const bool scaled = model.rope_scaling_factor >= 1.0;
  if (release < kFirstPaged && scaled) {
    found.warnings.push_back(concat("rope_scaling_factor = ", model.rope_scaling_factor, ": ",
                                    release.name(), " does not read the key"));
  }
  const bool reads_ntk = release < kFirstPaged ? release >= kFirstWithPadding
                                               : release >= kFirstWithBFloat16Cache || scaled;
  if (model.use_dynamic_ntk && !reads_ntk) {
    found.warnings.push_back(concat("use_dynamic_ntk = 1: ", release.name(), " does not read the ",
                                    "key; sessions over max_position_embeddings are served ",
                                    "without it"));
  }
  if (model.use_logn_attention && release < kFirstWithPadding) {
    found.warnings.push_back(
        concat("use_logn_attn = 1: ", release.name(), " does not read the key"));
  }
}

void check_ranks(const ModelConfig& model, const RuntimeRelease& release, int64_t ranks,
                 RuntimeFindings& found) {
  if (model.stored_ranks != 1 && model.stored_ranks != ranks) {
    found.faults.push_back(concat("tensor_para_size = ", model.stored_ranks, ": weights cut for ",
                                  model.stored_ranks, " ranks cannot be served with ", ranks,
                                  "; serve with ", model.stored_ranks,
                                  ", or deploy again with --tp ", ranks, " or --tp 1"));
    return;
  }
  if (model.stored_ranks == 1 && ranks > 1 && release < RuntimeRelease(0, 0, 3)) {
    found.faults.push_back(concat(
        "tensor_para_size = 1: ", release.name(), " cannot cut weights ", "for ", ranks,
        " ranks while loading; serve with v0.0.3 or later, ", "or deploy again with --tp ", ranks));
  }
  const auto divide = [&](const char* key, int64_t value) {
    if (value % ranks == 0) return;
    found.faults.push_back(concat(key, " = ", value, ": does not divide among ", ranks,
                                  " serving ranks; serve with a divisor"));
  };
  divide("head_num", model.heads);
  divide("kv_head_num", model.kv_heads);
  divide("inter_size", model.intermediate);
}

// How many rows of the embedding a release wants to find on disk, and what it does otherwise.
void check_vocabulary(const ModelConfig& model, const RuntimeRelease& release, int64_t ranks,
                      int64_t rows, RuntimeFindings& found) {
  if (release < kFirstWithPadding && model.vocab % ranks != 0) {
    found.faults.push_back(concat("vocab_size = ", model.vocab, ": ", release.name(), " does not ",
                                  "pad it and needs a multiple of ", ranks,
                                  " serving ranks; serve ",
                                  "with a divisor, or with v0.0.6 or later"));
  }
  if (rows == 0 || release < kFirstWithExactSizes) return;
  const bool pads = release >= kFirstWithPadding;
  const int64_t expected = pads ? round_up(model.vocab, ranks) : model.vocab;
  if (rows == expected) return;
  const std::string rounding = pads ? concat(" rounded up to ", ranks, " serving ranks") : "";
  found.faults.push_back(concat("tok_embeddings.weight: has ", rows, " rows, ", release.name(),
                                " expects ", expected, " (vocab_size = ", model.vocab, rounding,
                                ") and would serve a random embedding; deploy again with --tp ",
                                ranks, ", or set vocab_size to the checkpoint's"));
}

}  // namespace

RuntimeRelease RuntimeRelease::parse(std::string_view text) {
  std::string_view rest = text;
  if (rest.starts_with('v')) rest.remove_prefix(1);
  const int major = take_number(rest);
  const int minor = major < 0 ? -1 : take_number(rest);
  if (major > 0 || minor >= 4) {
    throw Error(concat("--runtime ", text, ": has no scale files: online KV quantization since ",
                       "v0.4.0; calibrate for ", kKnown, ", or start it with --quant-policy 8"));
  }
  const int patch = minor < 0 ? -1 : take_number(rest);
  if (patch < 0 || !rest.empty() || !is_known(major, minor, patch)) {
    throw Error(concat("--runtime ", text,
                       ": not a release of LMDeploy with scale files; known are ", kKnown));
  }
  return {major, minor, patch};
}

std::string RuntimeRelease::name() const { return concat('v', major_, '.', minor_, '.', patch_); }

RuntimeFindings examine_runtime(const ModelConfig& model, const RuntimeRelease& release,
                                int64_t serving_ranks, int64_t embedding_rows) {
  RuntimeFindings found;
  if (serving_ranks < 1) {
    found.faults.push_back(concat(serving_ranks, " serving ranks: expected 1 or more"));
    return found;
  }
  check_type(model, release, found);
  check_positions(model, release, found);
  check_ranks(model, release, serving_ranks, found);
  check_vocabulary(model, release, serving_ranks, embedding_rows, found);
  if (model.head_dim != kHeadDim) {
    found.warnings.push_back(concat("size_per_head = ", model.head_dim, ": ", release.name(),
                                    " has attention kernels for ", kHeadDim, " only"));
  }
  return found;
}

std::vector<std::string> check_runtime(const ModelConfig& model, const RuntimeRelease& release,
                                       int64_t serving_ranks, int64_t embedding_rows) {
  RuntimeFindings found = examine_runtime(model, release, serving_ranks, embedding_rows);
  std::string message;
  for (const std::string& fault : found.faults) message += (message.empty() ? "" : "\n") + fault;
  if (!message.empty()) throw Error(message);
  return std::move(found.warnings);
}

IniFile patch_config(const IniFile& config, const RuntimeRelease& release) {
  IniFile patched = config;
  if (config.find("quant_policy") != "4") patched = patched.with("quant_policy", "4");
  if (release.needs_context_fmha_off() && config.find("use_context_fmha") != "0") {
    patched = patched.with("use_context_fmha", "0");
  }
  return patched;
}

std::vector<std::string> config_faults(const IniFile& config, const RuntimeRelease& release) {
  std::vector<std::string> faults;
  const auto expect = [&](const char* key, std::string_view wanted, std::string_view why) {
    const std::optional<std::string> found = config.find(key);
    if (found == wanted) return;
    faults.push_back(concat("config.ini: ", found ? concat(key, " = ", *found) : concat("no ", key),
                            ": ", why, "; expected ", key, " = ", wanted));
  };
  expect("quant_policy", "4", concat(release.name(), " would not use the scales"));
  if (release.needs_context_fmha_off()) {
    expect("use_context_fmha", "0",
           concat("flash attention of ", release.name(), " reads int8 KV as half"));
  }
  return faults;
}

std::string serving_note(const RuntimeRelease& release) {
  if (release < kFirstWithEngineConfig) return "";
  return concat("`lmdeploy serve api_server`",
                release < RuntimeRelease(0, 2, 5) ? "" : " and pipeline()", " of ", release.name(),
                " override config.ini with quant_policy 0: pass quant_policy 4 explicitly");
}

}  // namespace kvcalib
