// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/runtimes/layer_scales.h"
#include "sharding/files/safetensors.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

inline constexpr const char* kC8Description = "quant_model_description.json";
inline constexpr const char* kC8Head = "lm_head.weight";
// What the description calls tensors.
inline constexpr const char* kC8Float = "FLOAT";
inline constexpr const char* kC8Int8 = "W8A8";

// Whether the description must name such a tensor of the checkpoint.
bool is_described(std::string_view tensor);

// Of a layer: the scale and the offset of K, then those of V.
std::vector<std::string> c8_names(int64_t layer);

// Of a type: the least scale that is written.  1 / it is finite there.
float least_scale(WeightType type);
// Each at least that, rounded to nearest even.
ScaleTable rounded_to(ScaleTable table, WeightType type);

// Whether 1 / `scale` is finite in the type.
bool has_reciprocal(float scale, WeightType type);

// "F16" or "BF16".
std::string_view c8_type(WeightType type);

// A vector in a 16-bit type.  What to_values reads is what to_tensor was given, rounded; it gives
// nothing for a tensor of another type.
SafetensorsTensor to_tensor(const std::vector<float>& values, WeightType type);
std::vector<float> to_values(const SafetensorsTensor& tensor);

}  // namespace kvcalib
