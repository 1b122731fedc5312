// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/safetensors_index.h"

#include <algorithm>
#include <climits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>

#include "sharding/files/error.h"
#include "sharding/files/excerpt.h"
#include "sharding/files/file_kind.h"
#include "sharding/files/json_reader.h"
#include "sharding/files/ranged_file.h"
#include "sharding/files/safetensors_header.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr const char* kWholeFile = "model.safetensors";

// Which file should hold which tensor.
using WeightMap = std::map<std::string, fs::path>;

std::optional<WeightMap> read_weight_map(const fs::path& directory) {
  const fs::path path = directory / kIndexFile;
  if (!is_file_there(path)) return std::nullopt;
  const nlohmann::json index = read_json(path);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
    throw Error(
        concat(path.string(), ": has no weight_map of tensors and files; get the file ", "again"));
  WeightMap files;
  for (const auto& [tensor, entry] : index["weight_map"].items()) {
    const fs::path file = entry.is_string() ? entry.get<std::string>() : std::string();
    if (file.empty() || file != file.filename() || entry.get<std::string>().size() > NAME_MAX)
      throw Error(concat(path.string(), ": tensor '", excerpt(tensor), "' lies in ",
                         json_excerpt(entry), ", expected the name of a file beside the index"));
    if (kind_behind(directory / file) != FileKind::kFile)
      throw Error(concat(path.string(), ": names ", file.string(),
                         ", which is no file here; get it, it holds tensor '", excerpt(tensor),
                         "'"));
    files[tensor] = directory / file;
  }
  return files;
}

// All model*.safetensors of a directory.
std::set<fs::path> find_files(const fs::path& directory) {
  std::set<fs::path> files;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("model") && name.ends_with(".safetensors")) files.insert(entry.path());
  }
  return files;
}

// Of files that an index does not name, once it is sure that none of them is the model.
std::vector<std::string> warnings_of(const fs::path& directory, const std::set<fs::path>& others) {
  if (others.contains(directory / kWholeFile))
    throw Error(concat((directory / kWholeFile).string(), ": lies beside ", kIndexFile,
                       ", which does not name it: two models are here (transformers would read ",
                       "this file); take one of them out of the directory"));
  std::vector<std::string> warnings;
  for (const fs::path& file : others)
    warnings.push_back(concat(file.string(), ": is not read, ", kIndexFile, " does not name it"));
  return warnings;
}

// Its tensors, without those that the index has elsewhere.
void add_file(const fs::path& path, const WeightMap& weight_map, SafetensorsIndex& index) {
  const RangedFile file(path);
  const uint64_t file_bytes = file.bytes();
  std::string text(SafetensorsHeader::kLengthBytes, '\0');
  text.resize(file.read_some(0, std::as_writable_bytes(std::span(text))));
  const uint64_t length = SafetensorsHeader::length(text, file_bytes, path.string());
  text.resize(length);
  file.read(SafetensorsHeader::kLengthBytes, std::as_writable_bytes(std::span(text)));

  const uint64_t data = SafetensorsHeader::kLengthBytes + length;
  SafetensorsHeader header = SafetensorsHeader::parse(text, file_bytes - data, path.string());
  for (auto& [name, tensor] : header.tensors) {
    const auto listed = weight_map.find(name);
    if (listed != weight_map.end() && listed->second != path) continue;
    const auto [place, is_new] = index.tensors.try_emplace(
        name, TensorPlace{path, data + tensor.begin, tensor.end - tensor.begin,
                          std::move(tensor.dtype), std::move(tensor.shape)});
    if (!is_new)
      throw Error(concat(path.string(), ": tensor '", excerpt(name), "' is in ",
                         place->second.file.filename().string(),
                         " too, and no index says which counts; take one of the files out of the ",
                         "directory"));
  }
}

}  // namespace

SafetensorsIndex read_safetensors_index(const fs::path& directory) {
  const std::optional<WeightMap> weight_map = read_weight_map(directory);
  std::set<fs::path> files = find_files(directory);
  SafetensorsIndex index;
  if (weight_map) {
    std::set<fs::path> others;
    others.swap(files);
    for (const auto& [tensor, file] : *weight_map) {
      files.insert(file);
      others.erase(file);
    }
    index.warnings = warnings_of(directory, others);
  }
  for (const fs::path& file : files) {
    if (kind_behind(file) != FileKind::kFile)
      throw Error(concat(file.string(), ": is no file, expected a safetensors file"));
    add_file(file, weight_map.value_or(WeightMap{}), index);
  }
  if (!weight_map) return index;
  for (const auto& [tensor, file] : *weight_map) {
    if (!index.has(tensor))
      throw Error(concat(file.string(), ": has no tensor '", excerpt(tensor), "', which ",
                         kIndexFile, " says it holds; get both again, of one model"));
  }
  return index;
}

}  // namespace kvcalib
