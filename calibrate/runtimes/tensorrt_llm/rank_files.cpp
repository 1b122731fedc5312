// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/tensorrt_llm/rank_files.h"

#include <limits>
#include <set>
#include <span>

#include "sharding/files/error.h"
#include "sharding/files/ranged_file.h"
#include "sharding/files/safetensors_header.h"

namespace kvcalib {
namespace {

constexpr std::string_view kBegin = "rank", kEnd = ".safetensors";
constexpr std::string_view kFactor = ".attention.kv_cache_scaling_factor";

// A file with its header read.
struct RankFile {
  explicit RankFile(const std::filesystem::path& path) : file(path) {
    std::string text(SafetensorsHeader::kLengthBytes, '\0');
    text.resize(file.read_some(0, std::as_writable_bytes(std::span(text))));
    text.resize(SafetensorsHeader::length(text, file.bytes(), path.string()));
    file.read(SafetensorsHeader::kLengthBytes, std::as_writable_bytes(std::span(text)));
    data = SafetensorsHeader::kLengthBytes + text.size();
    header = SafetensorsHeader::parse(text, file.bytes() - data, path.string());
  }

  RangedFile file;
  uint64_t data = 0;  // where the tensors' bytes begin
  SafetensorsHeader header;
};

}  // namespace

std::string rank_file(int64_t rank) { return concat(kBegin, rank, kEnd); }

bool is_rank_file(std::string_view file) {
  if (!file.starts_with(kBegin) || !file.ends_with(kEnd)) return false;
  if (file.size() <= kBegin.size() + kEnd.size()) return false;
  const std::string_view rank =
      file.substr(kBegin.size(), file.size() - kBegin.size() - kEnd.size());
  return rank.find_first_not_of("0123456789") == std::string_view::npos &&
         (rank.size() == 1 || rank.front() != '0');
}

std::string rank_tensor(int64_t layer) { return concat("transformer.layers.", layer, kFactor); }

RankScales read_rank_scales(const std::filesystem::path& path, int64_t layers) {
  const RankFile file(path);
  RankScales found;
  std::set<std::string> wanted;
  for (int64_t layer = 0; layer < layers; ++layer) {
    const std::string name = rank_tensor(layer);
    wanted.insert(name);
    float& scale = found.scales.emplace_back(std::numeric_limits<float>::quiet_NaN());
    const auto tensor = file.header.tensors.find(name);
    if (tensor == file.header.tensors.end()) {
      found.missing.push_back(name);
      continue;
    }
    if (tensor->second.dtype == "F32" && tensor->second.shape == std::vector<int64_t>{1})
      file.file.read(file.data + tensor->second.begin,
                     std::as_writable_bytes(std::span(&scale, 1)));
    else
      found.malformed.push_back(concat("tensor '", name, "' is ", tensor->second.dtype, " of ",
                                       tensor->second.end - tensor->second.begin,
                                       " bytes, expected F32 [1]; export again"));
  }
  for (const auto& [name, tensor] : file.header.tensors)
    if (name.ends_with(kFactor) && !wanted.contains(name)) found.superfluous.push_back(name);
  return found;
}

int64_t layers_of_rank(const std::filesystem::path& path) {
  const RankFile file(path);
  int64_t layers = 0;
  while (file.header.tensors.contains(rank_tensor(layers))) ++layers;
  return layers;
}

}  // namespace kvcalib
