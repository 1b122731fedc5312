// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/fp8_overlay/fp8_overlay.h"

#include <array>

#include "calibrate/runtimes/fp8_overlay/verify_overlay.h"
#include "calibrate/runtimes/layer_scales.h"
#include "calibrate/runtimes/overlay_file.h"
#include "sharding/files/error.h"
#include "sharding/files/json_writer.h"

namespace kvcalib {
namespace {

constexpr auto kInVllm = std::to_array<std::string_view>({"LlamaForCausalLM", "MistralForCausalLM",
                                                          "InternLMForCausalLM", "Qwen2ForCausalLM",
                                                          "Qwen3ForCausalLM"});
constexpr auto kInSglang =
    std::to_array<std::string_view>({"LlamaForCausalLM", "MistralForCausalLM"});

std::vector<OutputFile> files(const ExportTarget& target, const StatisticsFile& statistics) {
  OverlayTensors tensors;
  const ScaleTable table = scales_by_layer(statistics.statistics, kLargestFloat8);
  for (size_t layer = 0; layer < table.size(); ++layer) {
    for (const std::string& module : overlay_modules(static_cast<int64_t>(layer))) {
      tensors[module + ".k_scale"] = {"F32", {1}, float32_bytes(table[layer].keys)};
      tensors[module + ".v_scale"] = {"F32", {1}, float32_bytes(table[layer].values)};
    }
  }
  std::vector<OutputFile> files = overlay_files(*target.checkpoint, tensors);
  files.push_back({kConfigMerge, json_text({{"quantization_config", overlay_quantization()}})});
  return files;
}

bool is_ours(std::string_view file) { return is_overlay_file(file) || file == kConfigMerge; }

std::string in_words(int64_t layers, int64_t) {
  return concat(kOverlay, " (", layers, " layers, k_scale and v_scale), ", kCheckpointIndex, ", ",
                kConfigMerge);
}

}  // namespace

const ScaleExporter kVllm = {
    .name = "vllm",
    .program = "vLLM",
    .title = "vLLM, FP8 E4M3 cache",
    .formula = "absmax / 448, one for K and one for V of a layer",
    .source = "vLLM's weight_utils.py and kv_cache.py of 2025 to September 2026",
    .note =
        "lay the files into a copy of the checkpoint, merge config.merge.json into its "
        "config.json, serve with --kv-cache-dtype fp8; its log may say of the spelling "
        "self_attn.attn.k_scale that it is not loaded, not of self_attn.k_scale, nor that 1.0 "
        "is used; "
        "of a checkpoint in one model.safetensors, which transformers prefers to the index, cut "
        "that into shards first or merge the tensors into it",
    .architectures = kInVllm,
    .is_ours = is_ours,
    .files_in_words = in_words,
    .check_own = check_attention,
    .files = files,
    .verify = verify_overlay,
};

const ScaleExporter kSglang = {
    .name = "sglang",
    .program = "SGLang",
    .title = "SGLang, FP8 E4M3 cache",
    .formula = "absmax / 448, one for K and one for V of a layer",
    .source =
        "SGLang's models/llama.py, weight_utils.py and CompressedTensorsConfig with "
        "sgl-project/sglang#35455",
    .note =
        "lay the files into a copy of the checkpoint, merge config.merge.json into its "
        "config.json, serve with --kv-cache-dtype fp8_e4m3; its log may say of the spelling "
        "self_attn.attn.k_scale that it is not found, not of self_attn.k_scale; "
        "of a checkpoint in one model.safetensors, which transformers prefers to the index, cut "
        "that into shards first or merge the tensors into it",
    .warning =
        "needs a SGLang with sgl-project/sglang#35455, which was merged after 2026-08-19: earlier "
        "ones drop the scales without a word and run at 1.0; use sglang-json there",
    .architectures = kInSglang,
    .is_ours = is_ours,
    .files_in_words = in_words,
    .check_own = check_attention,
    .files = files,
    .verify = verify_overlay,
};

}  // namespace kvcalib
