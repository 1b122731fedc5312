// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/ascend_c8/c8_tensors.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "calibrate/runtimes/checkpoint.h"
#include "calibrate/statistics/scale_method.h"
#include "kernels/numeric.h"

namespace kvcalib {
namespace {

uint16_t to_bits(float value, WeightType type) {
  return type == WeightType::kFloat16 ? kernels::from_float<kernels::Half>(value).bits
                                      : kernels::from_float<kernels::Bfloat16>(value).bits;
}

float from_bits(uint16_t bits, WeightType type) {
  return type == WeightType::kFloat16 ? kernels::to_float(kernels::Half{bits})
                                      : kernels::to_float(kernels::Bfloat16{bits});
}

}  // namespace

bool is_described(std::string_view tensor) {
  return tensor.ends_with(".weight") || tensor.ends_with(".bias");
}

std::vector<std::string> c8_names(int64_t layer) {
  std::vector<std::string> names;
  for (const char* const module : {".k_proj", ".v_proj"})
    for (const char* const tensor : {".kv_cache_scale", ".kv_cache_offset"})
      names.push_back(attention_of(layer) + module + tensor);
  return names;
}

float least_scale(WeightType type) {
  return type == WeightType::kFloat16 ? 0x1p-15f : kSmallestScale;
}

bool has_reciprocal(float scale, WeightType type) {
  return std::isfinite(from_bits(to_bits(1.0f / scale, type), type));
}

ScaleTable rounded_to(ScaleTable table, WeightType type) {
  for (LayerScales& layer : table)
    for (std::vector<float>* const scales : {&layer.keys, &layer.values})
      for (float& scale : *scales)
        scale = from_bits(to_bits(std::max(scale, least_scale(type)), type), type);
  return table;
}

std::string_view c8_type(WeightType type) { return type == WeightType::kFloat16 ? "F16" : "BF16"; }

SafetensorsTensor to_tensor(const std::vector<float>& values, WeightType type) {
  std::string bytes;
  for (const float value : values) {
    const uint16_t bits = to_bits(value, type);
    bytes.append(reinterpret_cast<const char*>(&bits), sizeof bits);
  }
  return {std::string(c8_type(type)), {static_cast<int64_t>(values.size())}, std::move(bytes)};
}

std::vector<float> to_values(const SafetensorsTensor& tensor) {
  if (tensor.dtype != "F16" && tensor.dtype != "BF16") return {};
  const WeightType type = tensor.dtype == "F16" ? WeightType::kFloat16 : WeightType::kBFloat16;
  std::vector<float> values;
  for (size_t i = 0; i + 1 < tensor.bytes.size(); i += sizeof(uint16_t)) {
    uint16_t bits = 0;
    std::memcpy(&bits, &tensor.bytes[i], sizeof bits);
    values.push_back(from_bits(bits, type));
  }
  return values;
}

}  // namespace kvcalib
