// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "calibrate/runtimes/scale_exporter.h"

namespace kvcalib {

// SGLang's --quantization-param-path, an FP8 (E4M3) cache: kv_cache_scales.json,
//   {"model_type": "llama", "kv_cache": {"dtype": "float8_e4m3fn",
//    "scaling_factor": {"RANK": {"LAYER": scale}}}}
// with one scale for K and V of a layer on each tensor-parallel rank: the larger absmax / 448.
// Source: KVCacheQuantSchema and QuantParamSchema in SGLang's model_loader/weight_utils.py, which
// hold model_type, ranks and layers against the model.
extern const ScaleExporter kSglangJson;

}  // namespace kvcalib
