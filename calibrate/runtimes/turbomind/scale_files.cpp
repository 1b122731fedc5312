// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/scale_files.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <map>

#include "calibrate/output/file_operations.h"
#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"
#include "sharding/files/metadata_file.h"

namespace kvcalib {
namespace {

constexpr std::string_view kPrefix = "layers.";
constexpr std::string_view kMiddle = ".past_kv_scale.";
constexpr std::string_view kSuffix = ".weight";

void append(std::string& bytes, float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<char>(bits >> shift));
}

float float_at(std::string_view bytes, size_t index) {
  uint32_t bits = 0;
  for (size_t i = 0; i < 4; ++i) {
    bits |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[4 * index + i])) << (8 * i);
  }
  return std::bit_cast<float>(bits);
}

// A number as the runtime prints it: no sign, no leading zero.
std::optional<int64_t> parse_index(std::string_view text) {
  constexpr size_t kMostDigits = 9;
  if (text.size() > kMostDigits) return std::nullopt;
  int64_t value = 0;
  const auto [stop, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  return std::to_string(value) == text && value >= 0 ? std::optional(value) : std::nullopt;
}

std::map<ScaleFileId, std::filesystem::path> find_scale_files(
    const std::filesystem::path& directory) {
  std::map<ScaleFileId, std::filesystem::path> found;
  for (const std::string& name : list_directory(directory)) {
    const auto id = parse_scale_file_name(name);
    if (id && kind_behind(directory / name) != FileKind::kNothing) found[*id] = directory / name;
  }
  if (found.empty()) {
    throw Error(concat(directory.string(), ": has no KV scale files (", kPrefix, "L", kMiddle, "R",
                       kSuffix, "); calibrate it first"));
  }
  return found;
}

}  // namespace

std::string scale_file_name(int64_t layer, int64_t rank) {
  return concat(kPrefix, layer, kMiddle, rank, kSuffix);
}

std::optional<ScaleFileId> parse_scale_file_name(std::string_view name) {
  const size_t middle = name.find(kMiddle);
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix) || middle == std::string_view::npos ||
      middle < kPrefix.size() || middle + kMiddle.size() + kSuffix.size() > name.size()) {
    return std::nullopt;
  }
  const size_t rank_begin = middle + kMiddle.size();
  const auto layer = parse_index(name.substr(kPrefix.size(), middle - kPrefix.size()));
  const auto rank = parse_index(name.substr(rank_begin, name.size() - kSuffix.size() - rank_begin));
  if (!layer || !rank) return std::nullopt;
  return ScaleFileId{*layer, *rank};
}

bool is_scale_file_name(std::string_view name) {
  return name.find("past_kv_scale") != std::string_view::npos;
}

std::string scale_file_bytes(const KvScale& scale, const TurboMindRelease& release) {
  std::string bytes;
  append(bytes, scale.k_scale);
  if (release.scale_values == 4) {
    append(bytes, scale.k_zero);
    append(bytes, scale.v_scale);
    append(bytes, scale.v_zero);
  } else {
    if (scale.k_zero != 0.0f || scale.v_zero != 0.0f) {
      throw Error(concat("--runtime ", release.name(),
                         ": its scale files have no zero points; add ",
                         "--symmetric, or calibrate for ",
                         since([](const TurboMindRelease& r) { return r.scale_values == 4; })));
    }
    append(bytes, scale.v_scale);
  }
  return bytes;
}

std::optional<KvScale> parse_scale_file(std::string_view bytes) {
  if (bytes.size() == 8) return KvScale{float_at(bytes, 0), 0.0f, float_at(bytes, 1), 0.0f};
  if (bytes.size() != 16) return std::nullopt;
  return KvScale{float_at(bytes, 0), float_at(bytes, 1), float_at(bytes, 2), float_at(bytes, 3)};
}

std::vector<OutputFile> scale_files(std::span<const KvScale> scales, int64_t ranks,
                                    const TurboMindRelease& release) {
  std::vector<OutputFile> files;
  for (size_t i = 0; i < scales.size(); ++i) {
    const auto index = static_cast<int64_t>(i);
    files.push_back(
        {scale_file_name(index / ranks, index % ranks), scale_file_bytes(scales[i], release)});
  }
  return files;
}

StoredScales read_scales(const std::filesystem::path& directory) {
  const std::map<ScaleFileId, std::filesystem::path> found = find_scale_files(directory);
  StoredScales stored;
  for (const auto& [id, path] : found) {
    stored.layers = std::max(stored.layers, id.layer + 1);
    stored.ranks = std::max(stored.ranks, id.rank + 1);
  }
  // The first hole ends the walk: it is never longer than the list of files.
  for (int64_t index = 0; index < stored.layers * stored.ranks; ++index) {
    const ScaleFileId id{index / stored.ranks, index % stored.ranks};
    const auto file = found.find(id);
    if (file == found.end()) {
      throw Error(concat((directory / scale_file_name(id.layer, id.rank)).string(),
                         ": missing, though there are scale files of ", stored.layers,
                         " layers and ", stored.ranks, " ranks; verify says what is wrong"));
    }
    const std::string bytes = read_metadata_file(file->second);
    const auto scale = parse_scale_file(bytes);
    const auto values = static_cast<int64_t>(bytes.size() / sizeof(float));
    if (!scale || (stored.values != 0 && values != stored.values)) {
      throw Error(concat(file->second.string(), ": has ", bytes.size(), " bytes, expected ",
                         stored.values == 0 ? "16 (or 8)" : std::to_string(4 * stored.values)));
    }
    stored.values = values;
    stored.scales.push_back(*scale);
  }
  return stored;
}

}  // namespace kvcalib
