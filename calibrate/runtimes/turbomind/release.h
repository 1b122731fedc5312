// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sharding/files/ini_file.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

// A released LMDeploy whose TurboMind reads KV scale files: v0.0.2 to v0.3.0.
class RuntimeRelease {
 public:
  // "0.3.0" or "v0.3.0".  Throws Error for v0.4.0 and later, which have no scale files, and for
  // what is no release (naming those known).
  static RuntimeRelease parse(std::string_view text);

  constexpr RuntimeRelease(int major, int minor, int patch)
      : major_(major), minor_(minor), patch_(patch) {}

  std::string name() const;  // "v0.3.0"
  bool operator==(const RuntimeRelease&) const = default;
  std::strong_ordering operator<=>(const RuntimeRelease& other) const {
    if (major_ != other.major_) return major_ <=> other.major_;
    return minor_ != other.minor_ ? minor_ <=> other.minor_ : patch_ <=> other.patch_;
  }

  // Floats in a scale file: 2 (k_scale, v_scale; symmetric) in v0.0.2 and v0.0.3, 4 after that.
  int64_t scale_values() const { return *this < RuntimeRelease(0, 0, 4) ? 2 : 4; }
  // Flash attention in prefill reads int8 as half there: use_context_fmha must be 0.
  bool needs_context_fmha_off() const { return *this < RuntimeRelease(0, 1, 0); }

 private:
  int major_;
  int minor_;
  int patch_;
};

// What speaks against serving a model with int8 KV on a release, a sentence each.
struct RuntimeFindings {
  std::vector<std::string> faults;    // the runtime would misread or crash; with the way out
  std::vector<std::string> warnings;  // worth knowing
};

// `embedding_rows` are those of tok_embeddings.weight on disk; 0: not known, not checked.
RuntimeFindings examine_runtime(const ModelConfig& model, const RuntimeRelease& release,
                                int64_t serving_ranks, int64_t embedding_rows);

// The warnings.  Throws Error with all faults, one a line.
std::vector<std::string> check_runtime(const ModelConfig& model, const RuntimeRelease& release,
                                       int64_t serving_ranks, int64_t embedding_rows);

// The config with quant_policy = 4 and, for v0.0.x, use_context_fmha = 0: the same bytes otherwise.
IniFile patch_config(const IniFile& config, const RuntimeRelease& release);

// What of `config` that release would not serve int8 KV with: a sentence for each key.
std::vector<std::string> config_faults(const IniFile& config, const RuntimeRelease& release);

// How to start that release so that it obeys quant_policy of config.ini; empty where any way does.
std::string serving_note(const RuntimeRelease& release);

}  // namespace kvcalib
