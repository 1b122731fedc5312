// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "calibrate/statistics/decoding_rule.h"

namespace kvcalib {

// How a release stretches the rotary base of long prompts.
enum class DynamicNtk {
  kUnknown,
  kStepwise,   // by the context's length, in powers of two
  kByRequest,  // by the request's length and rope_scaling_factor
};

// What a release's converter writes into config.ini whatever the model; empty: not that key.
struct ConfigDefaults {
  std::string_view group_size;
  std::string_view max_batch_size = "32";
  std::string_view max_context_token_num = "4";
  std::string_view cache_max_entry_count = "48";
  std::string_view cache_block_seq_len;
  std::string_view cache_chunk_size = "1";
  std::string_view num_tokens_per_iter;
  std::string_view max_prefill_iters;
  std::string_view extra_tokens_per_iter;
};

// A released LMDeploy whose TurboMind reads KV scale files, and all that is known of it.
struct TurboMindRelease {
  int minor = 0;  // of v0.minor.patch
  int patch = 0;

  // Scale files
  int64_t scale_values = 2;              // floats: k_scale, v_scale; 4: with their zero points
  bool crashes_without_scales = true;    // else it takes scale 1 and zero 0, silently
  bool int8_in_flash_attention = false;  // else prefill reads int8 as half: use_context_fmha = 0
  int64_t longest_int8_prefill = 4096;   // tokens of a session; 0: any

  // The cache
  bool pages_cache = false;         // in blocks of tokens, else a session at a time
  bool shares_free_memory = false;  // the blocks are a share of free memory, else of all

  DecodingRule decoding{.newest_is_exact = true, .rounds_half_away = true};

  // Weights
  bool cuts_while_loading = false;    // files of one rank, for several that serve
  bool wants_exact_sizes = false;     // else a longer file is as good
  bool pads_rows = false;             // of embedding and head, to a multiple of the ranks
  bool powers_of_two_only = false;    // ranks
  bool reads_bfloat16 = false;        // else all 16-bit weights are taken for fp16
  bool int8_beside_bfloat16 = false;  // else decoding a bf16 model corrupts its int8 cache
  bool normalises_head = false;       // its converter brings Baichuan 2's output rows to length 1
  int64_t head_dim = 128;             // the only one there are kernels for

  // Rotation, by which keys of config.ini
  bool reads_rope_theta = false;  // else 10000
  DynamicNtk dynamic_ntk = DynamicNtk::kUnknown;
  bool reads_use_dynamic_ntk = false;  // else rope_scaling_factor alone says so
  bool reads_rope_scaling_factor = false;
  bool scales_linearly = false;          // by rope_scaling_factor, without use_dynamic_ntk
  bool stretches_short_prompts = false;  // the base, by rope_scaling_factor
  bool reads_use_logn_attn = false;

  // What overrides config.ini's quant_policy
  bool api_server_overrides = false;
  bool pipeline_overrides = false;

  // Takes a folder with outputs_stats.pth for AWQ weights
  bool takes_outputs_stats_for_awq = false;

  // config.ini
  std::span<const std::string_view> config_keys;  // all its converter may write, in its order
  ConfigDefaults config_defaults;

  std::string name() const;  // "v0.3.0"
};

// Every release with scale files, the oldest first.
std::span<const TurboMindRelease> turbomind_releases();

// "0.3.0" or "v0.3.0".  Throws Error for v0.4.0 and later, which have no scale files, and for what
// is no release (naming those known).
const TurboMindRelease& find_turbomind_release(std::string_view text);

// "v0.0.8 or later", or "v0.3.0" of the last: in words, the first release of which something is so
// and of all behind it too.  Where that is none it says so.
std::string since(const std::function<bool(const TurboMindRelease&)>& fact,
                  std::string_view conjunction = "or");

}  // namespace kvcalib
