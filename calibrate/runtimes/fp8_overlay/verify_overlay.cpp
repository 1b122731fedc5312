// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/fp8_overlay/verify_overlay.h"

#include <cstring>
#include <optional>

#include "calibrate/runtimes/overlay_file.h"
#include "calibrate/runtimes/scale_checks.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

std::vector<std::string> names_of(int64_t layer) {
  std::vector<std::string> names;
  for (const std::string& module : overlay_modules(layer))
    for (const char* const scale : {".k_scale", ".v_scale"}) names.push_back(module + scale);
  return names;
}

// The value of a tensor that is there; nothing, with a fault, for another type or shape.
std::optional<float> read_scale(const std::string& name, const SafetensorsTensor& tensor,
                                std::vector<std::string>& faults) {
  float value = 0.0f;
  if (tensor.dtype == "F32" && tensor.bytes.size() == sizeof value) {
    std::memcpy(&value, tensor.bytes.data(), sizeof value);
    return value;
  }
  faults.push_back(concat("tensor '", name, "' is ", tensor.dtype, " of ", tensor.bytes.size(),
                          " bytes, expected one F32; export again"));
  return std::nullopt;
}

// The layers' scales; nothing where one lacks.
std::optional<ScaleTable> read_table(const OverlayFile& overlay, VerifyReport& report) {
  ScaleTable table;
  std::vector<std::string> types, spellings;
  bool whole = true;
  for (int64_t layer = 0; layer < overlay.layers; ++layer) {
    std::vector<std::optional<float>> values;  // k and v of one spelling, k and v of the other
    for (const std::string& name : names_of(layer)) {
      const auto found = overlay.tensors.find(name);
      values.push_back(found == overlay.tensors.end() ? std::nullopt
                                                      : read_scale(name, found->second, types));
      whole = whole && values.back();
    }
    for (size_t i = 0; i < 2; ++i)
      if (values[i] && values[i + 2] && *values[i] != *values[i + 2])
        spellings.push_back(concat("'", names_of(layer)[i], "' is ", *values[i], ", and '",
                                   names_of(layer)[i + 2], "' is ", *values[i + 2],
                                   ": two names of one scale; export again"));
    table.push_back({{values[0].value_or(0)}, {values[1].value_or(0)}});
  }
  add_faults(kOverlay, types, report);
  add_faults(kOverlay, spellings, report);
  if (!whole) return std::nullopt;
  return table;
}

void check_scheme(const JsonObject& config, std::string_view way_out, VerifyReport& report) {
  const JsonObject quantization = config.object("quantization_config");
  const JsonObject scheme = quantization.object("kv_cache_scheme");
  const auto fault = [&](const auto&... parts) {
    report.faults.push_back(concat(config.origin(), ": ", parts..., way_out));
  };
  if (scheme.is_empty())
    return fault("has no quantization_config with a kv_cache_scheme: the runtime makes no place ",
                 "for scales and drops them");
  const nlohmann::ordered_json expected = overlay_quantization();
  const auto hold = [&](const JsonObject& object, const char* name, const std::string& key,
                        const nlohmann::ordered_json& value) {
    const nlohmann::json* const found = object.find(key);
    if (found == nullptr || *found != nlohmann::json(value))
      fault(name, ": ", key, " is ", found == nullptr ? std::string("missing") : object.shown(key),
            ", expected ", value.dump());
  };
  for (const char* const key : {"quant_method", "format", "quantization_status"})
    hold(quantization, "quantization_config", key, expected[key]);
  for (const auto& [key, value] : expected["kv_cache_scheme"].items())
    hold(scheme, "kv_cache_scheme", key, value);
}

}  // namespace

std::vector<std::string> overlay_modules(int64_t layer) {
  return {attention_of(layer), attention_of(layer) + ".attn"};
}

nlohmann::ordered_json overlay_quantization() {
  return {{"quant_method", "compressed-tensors"},
          {"format", "dense"},
          {"quantization_status", "compressed"},
          {"config_groups", nlohmann::ordered_json::object()},
          {"ignore", nlohmann::ordered_json::array()},
          {"kv_cache_scheme",
           {{"num_bits", 8},
            {"type", "float"},
            {"strategy", "tensor"},
            {"dynamic", false},
            {"symmetric", true}}}};
}

void verify_overlay(const ExportedDirectory& directory, VerifyReport& report) {
  if (directory.config)
    check_scheme(*directory.config, "; merge config.merge.json into it", report);
  else
    check_scheme(JsonObject::read(directory.path / kConfigMerge), "; export again", report);
  const OverlayFile overlay = read_overlay(directory, names_of, report);
  const std::optional<ScaleTable> table = read_table(overlay, report);
  if (!table) return;
  check_values(kOverlay, *table, report);
  if (directory.statistics)
    compare_scales(kOverlay, *table,
                   scales_by_layer(directory.statistics->statistics, kLargestFloat8), report);
}

}  // namespace kvcalib
