// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/model_surroundings.h"

#include <optional>

#include "sharding/files/error.h"
#include "sharding/files/excerpt.h"
#include "sharding/files/file_kind.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAdapterConfig = "adapter_config.json";
constexpr const char* kMerge =
    "merge it first, with peft: AutoPeftModelForCausalLM.from_pretrained(FROM, "
    "torch_dtype=\"auto\").merge_and_unload().save_pretrained(TO)";

std::optional<fs::path> adapter_weights(const fs::path& directory) {
  for (const char* const name : {"adapter_model.safetensors", "adapter_model.bin"})
    if (kind_behind(directory / name) != FileKind::kNothing) return directory / name;
  return std::nullopt;
}

bool has_adapter_config(const fs::path& directory) {
  return kind_behind(directory / kAdapterConfig) != FileKind::kNothing;
}

bool is_of_adapter(std::string_view name) {
  return name.find(".lora_") != std::string_view::npos ||
         name.find(".base_layer.") != std::string_view::npos;
}

}  // namespace

std::vector<std::string> check_surroundings(const fs::path& directory, const JsonObject& config,
                                            const ModelFamily& family,
                                            const SafetensorsIndex& index) {
  if (const std::optional<fs::path> adapter = adapter_weights(directory))
    throw Error(concat(adapter->string(), ": is an adapter (LoRA) of the model here, which is not ",
                       "merged into its weights; ", kMerge, ", or take it out of the directory to ",
                       "have the model without it"));
  for (const auto& [name, place] : index.tensors) {
    if (is_of_adapter(name))
      throw Error(concat(place.file.string(), ": tensor '", name, "' is of an adapter (LoRA) that ",
                         "is not merged into the weights; ", kMerge));
  }
  std::vector<std::string> warnings = index.warnings;
  if (has_adapter_config(directory))
    warnings.push_back(concat((directory / kAdapterConfig).string(), ": tells of an adapter ",
                              "(LoRA) whose weights are not here; the model is read without it"));
  const nlohmann::json* const code = config.find("auto_map");
  if (!has_own_code(family) && code != nullptr && code->is_object() &&
      code->contains("AutoModelForCausalLM"))
    warnings.push_back(concat(config.origin(), ": auto_map names code that comes with the model, ",
                              "which is not read; what is computed is ",
                              family.architectures.front(), " as transformers has it"));
  const std::string type = config.text("model_type", family.model_type);
  if (type != family.model_type)
    warnings.push_back(concat(config.origin(), ": model_type is '", excerpt(type), "', where a ",
                              family.architectures.front(), " has '", family.model_type,
                              "'; it is not gone by, what is computed is ",
                              family.architectures.front()));
  if (!config.object("quantization_config").is_empty())
    warnings.push_back(concat(config.origin(), ": quantization_config is for the cache of another ",
                              "runtime only; it is not read"));
  return warnings;
}

void refuse_lone_adapter(const fs::path& directory) {
  if (!has_adapter_config(directory) && !adapter_weights(directory)) return;
  throw Error(concat(directory.string(), ": holds an adapter (LoRA), and no model; ", kMerge,
                     ", and give TO"));
}

}  // namespace kvcalib
