// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "calibrate/runtimes/scale_exporter.h"

namespace kvcalib {

// TensorRT-LLM's checkpoint for its engine builder, an INT8 cache:
//   rankR.safetensors   F32 [1] transformer.layers.N.attention.kv_cache_scaling_factor, to be added
//                       to the tensors of the checkpoint's own rankR.safetensors
//   config.merge.json   quantization.kv_cache_quant_algo = "INT8" for its config.json
// with one scale for K and V of a layer on each tensor-parallel rank: the larger absmax / 127, of K
// behind RoPE and without Q.  Layers are numbered over the whole model: no pipeline parallelism.
// Source: TensorRT-LLM's examples/*/convert_checkpoint.py and checkpoint documentation.
extern const ScaleExporter kTensorRtLlm;

}  // namespace kvcalib
