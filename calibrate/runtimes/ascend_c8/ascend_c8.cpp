// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/ascend_c8/ascend_c8.h"

#include <array>

#include "calibrate/runtimes/ascend_c8/c8_tensors.h"
#include "calibrate/runtimes/ascend_c8/verify_c8.h"
#include "calibrate/runtimes/overlay_file.h"
#include "sharding/files/error.h"
#include "sharding/files/json_writer.h"

namespace kvcalib {
namespace {

constexpr auto kInVllmAscend =
    std::to_array<std::string_view>({"LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"});
constexpr auto kInMindIe =
    std::to_array<std::string_view>({"LlamaForCausalLM", "Qwen2ForCausalLM"});

OutputFile description_of(const Checkpoint& checkpoint, int64_t layers) {
  nlohmann::ordered_json description = {{"model_quant_type", kC8Int8}, {"kv_cache_type", "C8"}};
  for (const auto& [name, file] : checkpoint.files)
    if (is_described(name)) description[name] = kC8Float;
  description[kC8Head] = kC8Float;  // is looked for, also where the embedding is the head
  for (int64_t layer = 0; layer < layers; ++layer)
    for (const std::string& name : c8_names(layer)) description[name] = kC8Int8;
  return {kC8Description, json_text(std::move(description))};
}

std::vector<OutputFile> files(const ExportTarget& target, const StatisticsFile& statistics) {
  const WeightType type = statistics.provenance.model.weight_type;
  const ScaleTable table = rounded_to(scales_by_channel(statistics.statistics, kLargestInt8), type);
  OverlayTensors tensors;
  for (size_t layer = 0; layer < table.size(); ++layer) {
    const std::vector<std::string> names = c8_names(static_cast<int64_t>(layer));
    const std::vector<float> offset(table[layer].keys.size(), 0.0f);
    tensors[names[0]] = to_tensor(table[layer].keys, type);
    tensors[names[1]] = to_tensor(offset, type);
    tensors[names[2]] = to_tensor(table[layer].values, type);
    tensors[names[3]] = to_tensor(offset, type);
  }
  std::vector<OutputFile> files = overlay_files(*target.checkpoint, tensors);
  files.push_back(description_of(*target.checkpoint, statistics.statistics.layers));
  return files;
}

bool is_ours(std::string_view file) { return is_overlay_file(file) || file == kC8Description; }

std::string in_words(int64_t layers, int64_t) {
  return concat(kOverlay, " (", layers, " layers, kv_cache_scale and kv_cache_offset), ",
                kCheckpointIndex, ", ", kC8Description);
}

}  // namespace

const ScaleExporter kVllmAscend = {
    .name = "vllm-ascend",
    .program = "vllm-ascend",
    .title = "vllm-ascend, int8 cache (C8)",
    .formula = "absmax / 127 of each channel, offset 0",
    .source = "vllm-ascend's kv_c8.py and modelslim_config.py of 2026",
    .note =
        "lay the files into a copy of the checkpoint and serve with --quantization ascend and "
        "a --block-size that is a multiple of 32; of W8A8 weights keep their own description "
        "and add kv_cache_type and the kv_cache_ entries to it; "
        "of a checkpoint in one model.safetensors, which transformers prefers to the index, cut "
        "that into shards first or merge the tensors into it",
    .architectures = kInVllmAscend,
    .is_ours = is_ours,
    .files_in_words = in_words,
    .check_own = check_attention,
    .files = files,
    .verify = verify_c8,
};

const ScaleExporter kMindIe = {
    .name = "mindie",
    .program = "MindIE",
    .title = "MindIE, int8 cache (C8)",
    .formula = "absmax / 127 of each channel, offset 0",
    .source = "MindIE's documentation of KV cache int8 of 2025",
    .note =
        "MindIE documents C8 beside W8A8 weights alone: lay the overlay beside these, keep "
        "their own description and add kv_cache_type and the kv_cache_ entries to it; "
        "of a checkpoint in one model.safetensors, which transformers prefers to the index, cut "
        "that into shards first or merge the tensors into it",
    .architectures = kInMindIe,
    .is_ours = is_ours,
    .files_in_words = in_words,
    .check_own = check_attention,
    .files = files,
    .verify = verify_c8,
};

}  // namespace kvcalib
