// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/overlay_file.h"

#include <cstring>
#include <set>

#include "sharding/files/error.h"
#include "sharding/files/json_reader.h"
#include "sharding/files/safetensors_writer.h"

namespace kvcalib {
namespace {

constexpr const char* kWholeModel = "model.safetensors";

// Keeps what is written.
class BytesSink final : public ByteSink {
 public:
  using ByteSink::append;
  void append(std::span<const std::byte> bytes) override {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  std::string text;
};

// As the index says where tensors lie.
std::map<std::string, std::string> read_map(const ExportedDirectory& directory) {
  const std::filesystem::path path = directory.path / kCheckpointIndex;
  const nlohmann::json index = read_json(path);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
    throw Error(concat(path.string(), ": expected an object with weight_map, the file of each ",
                       "tensor; export again"));
  std::map<std::string, std::string> files;
  for (const auto& [name, file] : index["weight_map"].items())
    if (file.is_string()) files[name] = file.get<std::string>();
  return files;
}

// How many layers have weights in the index.
int64_t layers_of(const std::map<std::string, std::string>& files) {
  int64_t layers = 0;
  while (files.contains(attention_of(layers) + ".k_proj.weight")) ++layers;
  return layers;
}

}  // namespace

std::string some_of(const std::vector<std::string>& names) {
  return concat("'", names.front(), "'",
                names.size() > 1 ? concat(" (and ", names.size() - 1, " more)") : std::string());
}

std::string float32_bytes(const std::vector<float>& values) {
  std::string bytes(values.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

std::string safetensors_of(const OverlayTensors& tensors) {
  SafetensorsHeader header;
  header.metadata = {{"format", "pt"}};  // what transformers refuses to load without
  for (const auto& [name, tensor] : tensors) header.tensors[name] = {tensor.dtype, tensor.shape};
  BytesSink sink;
  SafetensorsWriter writer(sink, std::move(header));
  for (const auto& [name, tensor] : tensors) writer.append(name, tensor.bytes);
  writer.finish();
  return sink.text;
}

std::vector<OutputFile> overlay_files(const Checkpoint& checkpoint, const OverlayTensors& tensors) {
  std::vector<std::string> names;
  uint64_t bytes = 0;
  for (const auto& [name, tensor] : tensors) {
    names.push_back(name);
    bytes += tensor.bytes.size();
  }
  return {{kOverlay, safetensors_of(tensors)}, extended_index(checkpoint, names, bytes)};
}

bool is_overlay_file(std::string_view file) { return file == kOverlay || file == kCheckpointIndex; }

OverlayFile read_overlay(const ExportedDirectory& directory,
                         std::vector<std::string> (*of)(int64_t layer), VerifyReport& report) {
  OverlayFile overlay{Safetensors::read(directory.path / kOverlay).tensors, read_map(directory),
                      directory.layers};
  const std::map<std::string, std::string>& files = overlay.files;
  if (directory.has(kWholeModel))
    report.notes.push_back(
        concat(kWholeModel, " is here: transformers prefers it to the index and ", "drops ",
               kOverlay, "; cut it into shards, or merge the tensors ", "into it"));
  if (overlay.layers == 0) overlay.layers = layers_of(files);
  const auto fault = [&](const auto&... parts) { report.faults.push_back(concat(parts...)); };
  if (overlay.layers == 0)
    fault(kCheckpointIndex, ": names no layer's ", attention_of(0),
          ".k_proj.weight: not the index ", "of a model with its weights; export again");
  std::set<std::string> wanted;
  std::vector<std::string> lacking, unnamed, elsewhere, unknown;
  for (int64_t layer = 0; layer < overlay.layers; ++layer)
    for (const std::string& name : of(layer)) {
      wanted.insert(name);
      const auto found = files.find(name);
      if (!overlay.tensors.contains(name))
        lacking.push_back(name);
      else if (found == files.end())
        unnamed.push_back(name);
      else if (found->second != kOverlay)
        elsewhere.push_back(name);
    }
  for (const auto& [name, tensor] : overlay.tensors)
    if (!wanted.contains(name)) unknown.push_back(name);
  if (!lacking.empty())
    fault(kOverlay, ": has no tensor ", some_of(lacking), ": the runtime would go on without, at ",
          "1.0; export again");
  if (!unnamed.empty())
    fault(kCheckpointIndex, ": does not name ", some_of(unnamed), ", and loaders read what it ",
          "names; take the ", kCheckpointIndex, " that was exported");
  if (!elsewhere.empty())
    fault(kCheckpointIndex, ": says that ", some_of(elsewhere), " is in ",
          files.at(elsewhere.front()), ", expected ", kOverlay);
  if (!unknown.empty())
    fault(kOverlay, ": ", some_of(unknown), " is none of a model with ", overlay.layers,
          " layers that the runtime would look for; export again");
  return overlay;
}

}  // namespace kvcalib
