// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "calibrate/runtimes/scale_exporter.h"

namespace kvcalib {

// LightLLM's --kv_quant_calibration_config_path, an FP8 (E4M3) cache:
//   kv_cache_calib.json             per head, for --llm_kv_type fp8kv_sph: scales [layers, 2
//   heads],
//                                   K's heads before V's
//   kv_cache_calib_per_tensor.json  per tensor, for fp8kv_spt: scales [layers, 2]
// each {"version": "1.0", "architectures", "quant_type": "per_head" or "per_tensor", "qmin": -448,
// "qmax": 448, "num_layers", "num_head", "scales_shape", "scales"}; scale = absmax / 448.  Ranks
// cut and repeat heads themselves. Source: LightLLM,
// common/kv_cache_mem_manager/fp8_static_per_head_quant_mem_manager.py and the per_tensor one
// beside it, docs tutorial/fp8_kv_quantization.rst.
extern const ScaleExporter kLightLlm;

}  // namespace kvcalib
