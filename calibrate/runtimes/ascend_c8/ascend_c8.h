// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "calibrate/runtimes/scale_exporter.h"

namespace kvcalib {

// Ascend's int8 cache ("C8"), a scale for each channel of K and V, laid over a checkpoint:
//   model-kvscales.safetensors     model.layers.N.self_attn.k_proj.kv_cache_scale, .kv_cache_offset
//                                  and v_proj's, [kv_heads * head_dim] in the model's 16-bit type,
//                                  channels in the checkpoint's own order (K: halves, not pairs)
//   model.safetensors.index.json   the checkpoint's, with these names
//   quant_model_description.json   kv_cache_type = "C8", these tensors as "W8A8", all weights of
//                                  the checkpoint, and lm_head.weight always, as "FLOAT"
// scale = absmax / 127, rounded to the 16-bit type, in F16 at least 2^-15, of which the reciprocal
// is finite there; offset = 0, since some paths read it with one
// sign, others with the other or not at all.
// Source: vllm-ascend, quantization/methods/kv_c8.py and quantization/modelslim_config.py; MindIE's
// documentation of KV cache int8 (only beside W8A8 weights there).
extern const ScaleExporter kVllmAscend, kMindIe;

}  // namespace kvcalib
