// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "calibrate/runtimes/scale_exporter.h"

namespace kvcalib {

// All that statistics say, for people who write files of their own: kvcalib.json.
//
//   format "kvcalib-json", version 1; program_version, weights_fingerprint
//   model        layers, heads, kv_heads, head_dim, weight_type
//   calibration  runtime, compute_dtype, samples, length, seed, data [{file, sha256}]
//   key_channel_order  "half-split": K's channels stand as in a Hugging Face checkpoint, where
//                channel j of a head turns with channel j + head_dim / 2; K is behind RoPE
//   layers       one object a layer, in their order: layer, key, value, each of these two with
//     minimum, maximum  [kv_heads][head_dim]: the range of every channel, as the model's 16-bit
//                       type holds it
//     layer      int8_symmetric = absmax / 127; float8_e4m3 = absmax / 448;
//                int8_asymmetric {scale = (high - low) / 255, zero = (high + low) / 2}, where low
//                and high are widened to hold 0
//     heads      int8_symmetric, float8_e4m3 [kv_heads]
// Numbers are fp32, written so that they read back as the same; no scale is below 2^-24.
extern const ScaleExporter kKvcalibJson;

}  // namespace kvcalib
