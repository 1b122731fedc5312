// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/checkpoint.h"

#include <nlohmann/json.hpp>

#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"
#include "sharding/files/json_object.h"
#include "sharding/files/json_reader.h"
#include "sharding/files/json_writer.h"
#include "sharding/formats/safetensors_index.h"

namespace kvcalib {

Checkpoint open_checkpoint(const WeightDirectory& weights, std::string_view reader) {
  const std::filesystem::path& path = weights.path();
  if (!is_hugging_face(path))
    throw Error(concat("--weights ", path.string(), ": is TurboMind's weights directory, and ",
                       reader, " reads scales by the names of a Hugging Face model; give the one ",
                       "(config.json, model*.safetensors) that it was made of: its statistics ",
                       "serve both"));
  const JsonObject config = JsonObject::read(path / kCheckpointConfig);
  Checkpoint checkpoint;
  checkpoint.path = path;
  const std::vector<std::string> architectures = config.texts("architectures");
  if (architectures.empty()) config.refuse("architectures is missing");
  checkpoint.architecture = architectures.front();
  checkpoint.model_type = config.text("model_type", "");
  for (const auto& [name, place] : read_safetensors_index(path).tensors) {
    checkpoint.files[name] = place.file.filename().string();
    checkpoint.bytes += place.bytes;
  }
  return checkpoint;
}

std::string attention_of(int64_t layer) { return concat("model.layers.", layer, ".self_attn"); }

void check_attention_names(const Checkpoint& checkpoint, int64_t layers) {
  for (int64_t layer = 0; layer < layers; ++layer) {
    const std::string wanted = attention_of(layer) + ".k_proj.weight";
    if (checkpoint.files.contains(wanted)) continue;
    const std::string end = wanted.substr(wanted.find("layers."));
    std::string found = "none of that kind";
    for (const auto& [name, file] : checkpoint.files)
      if (name.ends_with(end)) found = concat("'", name, "'");
    throw Error(concat(checkpoint.path.string(), ": has ", found, ", expected a tensor '", wanted,
                       "': scales would be looked for beside it; save the model under its own ",
                       "names with transformers"));
  }
}

OutputFile extended_index(const Checkpoint& checkpoint, const std::vector<std::string>& added,
                          uint64_t bytes) {
  nlohmann::ordered_json index = {{"metadata", {{"total_size", checkpoint.bytes}}}};
  if (kind_behind(checkpoint.path / kCheckpointIndex) != FileKind::kNothing)
    index = read_json(checkpoint.path / kCheckpointIndex);
  if (!index.is_object())
    throw Error(concat((checkpoint.path / kCheckpointIndex).string(), ": expected a JSON object"));
  if (index.contains("metadata") && index["metadata"].is_object() &&
      index["metadata"].contains("total_size") &&
      index["metadata"]["total_size"].is_number_unsigned())
    index["metadata"]["total_size"] = index["metadata"]["total_size"].get<uint64_t>() + bytes;
  nlohmann::ordered_json map = nlohmann::ordered_json::object();
  for (const auto& [name, file] : checkpoint.files) map[name] = file;
  for (const std::string& name : added) map[name] = kOverlay;
  index["weight_map"] = std::move(map);
  return {kCheckpointIndex, json_text(std::move(index))};
}

}  // namespace kvcalib
