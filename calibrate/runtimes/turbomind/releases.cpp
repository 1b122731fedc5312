// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/releases.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr unsigned kLargestNumber = 9999;  // of a release's three
constexpr int kFirstMinorWithout = 4;      // online KV quantization since v0.4.0

// deploy.py's order.
constexpr std::string_view kDeployKeys[] = {
    "model_name",
    "head_num",
    "kv_head_num",
    "size_per_head",
    "vocab_size",
    "num_layer",
    "rotary_embedding",
    "rope_theta",
    "inter_size",
    "norm_eps",
    "attn_bias",
    "start_id",
    "end_id",
    "weight_type",
    "group_size",
    "max_batch_size",
    "max_context_token_num",
    "session_len",
    "step_length",
    "cache_max_entry_count",
    "cache_chunk_size",
    "use_context_fmha",
    "quant_policy",
    "tensor_para_size",
    "max_position_embeddings",
    "use_dynamic_ntk",
    "use_logn_attn",
};

// lmdeploy convert's order.
constexpr std::string_view kConvertKeys[] = {
    "model_name",
    "tensor_para_size",
    "head_num",
    "kv_head_num",
    "vocab_size",
    "num_layer",
    "inter_size",
    "norm_eps",
    "attn_bias",
    "start_id",
    "end_id",
    "session_len",
    "weight_type",
    "rotary_embedding",
    "rope_theta",
    "size_per_head",
    "group_size",
    "max_batch_size",
    "max_context_token_num",
    "step_length",
    "cache_max_entry_count",
    "cache_block_seq_len",
    "cache_chunk_size",
    "num_tokens_per_iter",
    "max_prefill_iters",
    "extra_tokens_per_iter",
    "use_context_fmha",
    "quant_policy",
    "max_position_embeddings",
    "rope_scaling_factor",
    "use_dynamic_ntk",
    "use_logn_attn",
};

// Releases v0.minor.first to v0.minor.last and in what they differ from the row above.
struct Row {
  int minor, first, last;
  void (*change)(TurboMindRelease&);
};

constexpr Row kRows[] = {
    {0, 2, 2, [](TurboMindRelease& is) { is.config_keys = kDeployKeys; }},
    {0, 3, 3, [](TurboMindRelease& is) { is.cuts_while_loading = true; }},
    {0, 4, 5,
     [](TurboMindRelease& is) {
       is.scale_values = 4;
       is.wants_exact_sizes = true;
       is.config_defaults.group_size = "0";
     }},
    {0, 6, 7,
     [](TurboMindRelease& is) {
       is.pads_rows = true;
       is.dynamic_ntk = DynamicNtk::kStepwise;
       is.reads_use_dynamic_ntk = true;
       is.reads_use_logn_attn = true;
     }},
    {0, 8, 10,
     [](TurboMindRelease& is) {
       is.reads_rope_theta = true;
       is.normalises_head = true;
     }},
    {0, 11, 13, [](TurboMindRelease& is) { is.powers_of_two_only = true; }},
    {0, 14, 14, [](TurboMindRelease& is) { is.config_keys = kConvertKeys; }},
    {1, 0, 0,
     [](TurboMindRelease& is) {
       is.pages_cache = true;
       is.crashes_without_scales = false;
       is.int8_in_flash_attention = true;
       is.longest_int8_prefill = 0;
       is.decoding.rounds_half_away = false;
       is.reads_bfloat16 = true;
       is.dynamic_ntk = DynamicNtk::kByRequest;
       is.reads_use_dynamic_ntk = false;
       is.reads_rope_scaling_factor = true;
       is.stretches_short_prompts = true;
       is.config_defaults.max_batch_size = "64";
       is.config_defaults.max_context_token_num = "1";
       is.config_defaults.cache_max_entry_count = "0.5";
       is.config_defaults.cache_block_seq_len = "128";
     }},
    {2, 0, 1,
     [](TurboMindRelease& is) {
       is.stretches_short_prompts = false;
       is.api_server_overrides = true;
       is.config_defaults.cache_chunk_size = "-1";
       is.config_defaults.num_tokens_per_iter = "0";
       is.config_defaults.max_prefill_iters = "1";
       is.config_defaults.extra_tokens_per_iter = "0";
     }},
    {2, 2, 4,
     [](TurboMindRelease& is) {
       is.shares_free_memory = true;
       is.takes_outputs_stats_for_awq = true;
       is.config_defaults.cache_max_entry_count = "0.8";
     }},
    {2, 5, 6, [](TurboMindRelease& is) { is.pipeline_overrides = true; }},
    {3, 0, 0,
     [](TurboMindRelease& is) {
       is.int8_beside_bfloat16 = true;
       is.decoding.newest_is_exact = false;
       is.reads_use_dynamic_ntk = true;
       is.scales_linearly = true;
       is.config_defaults.cache_block_seq_len = "64";
     }},
};

constexpr size_t kCount = [] {
  size_t count = 0;
  for (const Row& row : kRows) count += static_cast<size_t>(row.last - row.first + 1);
  return count;
}();

constexpr std::array<TurboMindRelease, kCount> kReleases = [] {
  std::array<TurboMindRelease, kCount> releases{};
  TurboMindRelease release;
  size_t index = 0;
  for (const Row& row : kRows) {
    row.change(release);
    release.minor = row.minor;
    for (release.patch = row.first; release.patch <= row.last; ++release.patch)
      releases[index++] = release;
  }
  return releases;
}();

// "v0.0.2 to v0.0.14, v0.1.0": from the first to the last of each minor.
std::string known() {
  std::string text;
  for (size_t i = 0; i < kCount;) {
    size_t last = i;
    while (last + 1 < kCount && kReleases[last + 1].minor == kReleases[i].minor) ++last;
    text += concat(text.empty() ? "" : ", ", kReleases[i].name(),
                   last == i ? "" : concat(" to ", kReleases[last].name()));
    i = last + 1;
  }
  return text;
}

// Takes a number and the dot behind it, if any, from the front of `text`; -1 when there is none.
int take_number(std::string_view& text) {
  unsigned number = 0;
  const auto [stop, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failure != std::errc() || number > kLargestNumber) return -1;
  text.remove_prefix(static_cast<size_t>(stop - text.data()));
  if (text.starts_with('.') && text.size() > 1) text.remove_prefix(1);
  return static_cast<int>(number);
}

}  // namespace

std::string TurboMindRelease::name() const { return concat("v0.", minor, '.', patch); }

std::span<const TurboMindRelease> turbomind_releases() { return kReleases; }

const TurboMindRelease& find_turbomind_release(std::string_view text) {
  std::string_view rest = text;
  if (rest.starts_with('v')) rest.remove_prefix(1);
  const int major = take_number(rest);
  const int minor = major < 0 ? -1 : take_number(rest);
  if (major > 0 || minor >= kFirstMinorWithout) {
    throw Error(concat("--runtime ", text, ": has no scale files: online KV quantization since ",
                       "v0.", kFirstMinorWithout, ".0; calibrate for ", known(),
                       ", or start it with --quant-policy 8"));
  }
  const int patch = minor < 0 ? -1 : take_number(rest);
  const auto* const found =
      std::find_if(kReleases.begin(), kReleases.end(), [&](const TurboMindRelease& release) {
        return release.minor == minor && release.patch == patch;
      });
  if (!rest.empty() || found == kReleases.end()) {
    throw Error(concat("--runtime ", text,
                       ": not a release of LMDeploy with scale files; known are ", known()));
  }
  return *found;
}

std::string since(const std::function<bool(const TurboMindRelease&)>& fact,
                  std::string_view conjunction) {
  const auto first = std::find_if_not(kReleases.rbegin(), kReleases.rend(), fact).base();
  if (first == kReleases.end()) return concat("no release up to ", kReleases.back().name());
  const bool is_last = first + 1 == kReleases.end();
  return concat(first->name(), is_last ? "" : concat(" ", conjunction, " later"));
}

}  // namespace kvcalib
