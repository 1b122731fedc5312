// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "calibrate/runtimes/scale_exporter.h"

namespace kvcalib {

// An FP8 (E4M3) cache with one scale each for K and V of a layer, laid over a checkpoint:
//   model-kvscales.safetensors     F32 [1] model.layers.N.self_attn.k_scale, .v_scale, and the same
//                                  as ...self_attn.attn.k_scale, .v_scale: a loader takes one
//                                  spelling and drops the other
//   model.safetensors.index.json   the checkpoint's, with these names
//   config.merge.json              quantization_config for config.json (compressed-tensors)
// scale = absmax / 448.
// Source: vLLM, maybe_remap_kv_scale_name in model_loader/weight_utils.py and load_weights of
// models/llama.py and qwen2.py; SGLang, models/llama.py (its models/qwen2.py looks names up
// as they stand, and fails at the first spelling).
extern const ScaleExporter kVllm, kSglang;

}  // namespace kvcalib
