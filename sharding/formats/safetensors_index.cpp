// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/safetensors_index.h"

#include <algorithm>
#include <climits>
#include <nlohmann/json.hpp>
#include <set>
#include <span>

#include "sharding/files/error.h"
#include "sharding/files/json_reader.h"
#include "sharding/files/ranged_file.h"
#include "sharding/files/safetensors_header.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndexFile = "model.safetensors.index.json";

// Which file should hold which tensor.
using WeightMap = std::map<std::string, fs::path>;

WeightMap read_weight_map(const fs::path& directory) {
  const fs::path path = directory / kIndexFile;
  if (!fs::exists(path)) return {};
  const nlohmann::json index = read_json(path);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
    throw Error(concat(path.string(), ": has no weight_map of tensors and files; the index is ",
                       "damaged, get the model again"));
  WeightMap files;
  for (const auto& [tensor, entry] : index["weight_map"].items()) {
    const fs::path file = entry.is_string() ? entry.get<std::string>() : std::string();
    if (file.empty() || file != file.filename() || entry.get<std::string>().size() > NAME_MAX)
      throw Error(concat(path.string(), ": tensor '", tensor, "' lies in ", json_excerpt(entry),
                         ", expected the name of a file beside the index"));
    if (!fs::is_regular_file(directory / file))
      throw Error(concat(path.string(), ": names ", file.string(),
                         ", which is not there; the copy is not complete"));
    files[tensor] = directory / file;
  }
  return files;
}

std::set<fs::path> find_files(const fs::path& directory, const WeightMap& weight_map) {
  std::set<fs::path> files;
  for (const auto& [tensor, file] : weight_map) files.insert(file);
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("model") || !name.ends_with(".safetensors")) continue;
    if (!entry.is_regular_file())
      throw Error(concat(entry.path().string(), ": is no file, expected a safetensors file"));
    files.insert(entry.path());
  }
  return files;
}

void add_file(const fs::path& path, SafetensorsIndex& index) {
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
    const auto [place, is_new] =
        index.try_emplace(name, TensorPlace{path, data + tensor.begin, tensor.end - tensor.begin,
                                            std::move(tensor.dtype), std::move(tensor.shape)});
    if (!is_new)
      throw Error(concat(path.string(), ": tensor '", name, "' is in ",
                         place->second.file.filename().string(),
                         " too; take the files of the other model out of the directory"));
  }
}

}  // namespace

SafetensorsIndex read_safetensors_index(const fs::path& directory) {
  const WeightMap weight_map = read_weight_map(directory);
  SafetensorsIndex index;
  for (const fs::path& file : find_files(directory, weight_map)) add_file(file, index);
  for (const auto& [tensor, file] : weight_map) {
    const auto place = index.find(tensor);
    if (place == index.end() || place->second.file != file)
      throw Error(concat(file.string(), ": has no tensor '", tensor, "', which ", kIndexFile,
                         " says it holds; index and files are of different models"));
  }
  return index;
}

}  // namespace kvcalib
