// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/runtimes/runtime.h"
#include "calibrate/runtimes/turbomind/releases.h"
#include "calibrate/statistics/kv_scale.h"

namespace kvcalib {

// "layers.L.past_kv_scale.R.weight"
std::string scale_file_name(int64_t layer, int64_t rank);

// Which layer and rank a scale file is for.
struct ScaleFileId {
  int64_t layer = 0;
  int64_t rank = 0;

  bool operator==(const ScaleFileId&) const = default;
  bool operator<(const ScaleFileId& other) const {  // by layer, then rank
    return layer != other.layer ? layer < other.layer : rank < other.rank;
  }
};

// Nothing when the runtime would not read a file of that name as scales.
std::optional<ScaleFileId> parse_scale_file_name(std::string_view name);

// Whether a name says "past_kv_scale", well-formed or not.
bool is_scale_file_name(std::string_view name);

// The file's bytes, little-endian fp32 without header: k_scale, k_zero, v_scale, v_zero (16 bytes);
// v0.0.2 and v0.0.3: k_scale, v_scale (8 bytes).  Throws Error when that release has no place for a
// zero that is not 0.
std::string scale_file_bytes(const KvScale& scale, const TurboMindRelease& release);

// The scale of 16 or 8 bytes; nothing for any other size.
std::optional<KvScale> parse_scale_file(std::string_view bytes);

// The files of `scales` [layers, ranks].
std::vector<OutputFile> scale_files(std::span<const KvScale> scales, int64_t ranks,
                                    const TurboMindRelease& release);

// The scale files of a directory.  Throws Error when there are none, when one of layers x ranks is
// missing, and naming a file that is unreadable or of another size than the first.
StoredScales read_scales(const std::filesystem::path& directory);

}  // namespace kvcalib
