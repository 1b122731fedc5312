// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/ascend_c8/verify_c8.h"

#include <algorithm>

#include "calibrate/runtimes/ascend_c8/c8_tensors.h"
#include "calibrate/runtimes/overlay_file.h"
#include "calibrate/runtimes/scale_checks.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

// The type and length that every vector must have: of the model, or of the first vector.
struct Form {
  WeightType type = WeightType::kFloat16;
  size_t length = 0;
};

Form form_of(const ExportedDirectory& directory, const SafetensorsTensor& first) {
  Form form{first.dtype == "BF16" ? WeightType::kBFloat16 : WeightType::kFloat16,
            static_cast<size_t>(directory.kv_heads * directory.head_dim)};
  if (form.length == 0) form.length = to_values(first).size();
  if (directory.statistics) form.type = directory.statistics->provenance.model.weight_type;
  return form;
}

// What the vectors of an overlay show.
struct Vectors {
  ScaleTable table;
  bool whole = true;                                     // all are there, of the form
  std::vector<std::string> forms, offsets, reciprocals;  // faults
};

// A vector; nothing, with a fault, for another form.
std::vector<float> read_vector(const std::string& name, const SafetensorsTensor& tensor,
                               const Form& form, Vectors& found) {
  std::vector<float> values = to_values(tensor);
  if (tensor.dtype == c8_type(form.type) && tensor.shape.size() == 1 &&
      values.size() == form.length && form.length > 1)
    return values;
  found.whole = false;
  found.forms.push_back(
      concat("tensor '", name, "' is ", tensor.dtype, " of ", tensor.bytes.size(),
             " bytes, expected ", c8_type(form.type), " [", form.length,
             "], a scale for each channel in the model's type: decoding passes no other shape; ",
             "export again"));
  return {};
}

void read_layer(const OverlayFile& overlay, int64_t layer, const Form& form, Vectors& found) {
  const std::vector<std::string> names = c8_names(layer);
  std::vector<std::vector<float>> vectors;
  for (const std::string& name : names) {
    const auto tensor = overlay.tensors.find(name);
    found.whole = found.whole && tensor != overlay.tensors.end();
    vectors.push_back(tensor == overlay.tensors.end()
                          ? std::vector<float>()
                          : read_vector(name, tensor->second, form, found));
  }
  for (const size_t scale : {size_t{0}, size_t{2}})
    if (std::any_of(vectors[scale].begin(), vectors[scale].end(),
                    [&](float value) { return value > 0.0f && !has_reciprocal(value, form.type); }))
      found.reciprocals.push_back(concat(
          "tensor '", names[scale], "' has a scale whose reciprocal ", "is not finite in ",
          c8_type(form.type), ", expected at least ", least_scale(form.type), "; export again"));
  for (const size_t offset : {size_t{1}, size_t{3}})
    if (std::any_of(vectors[offset].begin(), vectors[offset].end(),
                    [](float value) { return value != 0.0f; }))
      found.offsets.push_back(concat("tensor '", names[offset], "' is not 0 throughout, and not ",
                                     "every path of the runtime reads it; export again"));
  found.table.push_back({vectors[0], vectors[2]});
}

// Whether scales that a weight of that kind has lie beside it.
bool has_weight_scales(const std::map<std::string, std::string>& files, std::string_view weight) {
  const std::string_view module = weight.substr(0, weight.rfind('.'));
  const auto has = [&](const char* end) { return files.contains(concat(module, end)); };
  return has(".deq_scale") || has(".input_scale") || has(".weight_scale");
}

void check_names(const JsonObject& description, const OverlayFile& overlay, VerifyReport& report) {
  std::vector<std::string> scales, weights, others, floats;
  for (int64_t layer = 0; layer < overlay.layers; ++layer)
    for (const std::string& name : c8_names(layer))
      if (!description.has(name)) scales.push_back(name);
  for (const auto& [name, file] : overlay.files)
    if (is_described(name) && !description.has(name)) weights.push_back(name);
  if (!description.has(kC8Head) && !overlay.files.contains(kC8Head)) weights.emplace_back(kC8Head);
  for (const std::string& key : description.keys()) {
    const nlohmann::json* const value = description.find(key);
    if (value == nullptr || !value->is_string())
      others.push_back(key);
    else if (key.ends_with("_proj.weight") && value->get<std::string>() == kC8Int8 &&
             !has_weight_scales(overlay.files, key))
      floats.push_back(key);
  }
  const auto fault = [&](const std::vector<std::string>& names, const char* found,
                         const char* but) {
    if (!names.empty())
      report.faults.push_back(concat(kC8Description, ": ", found, some_of(names), but));
  };
  fault(scales, "does not name ", ": the layer would be left out; export again");
  fault(weights, "does not name ", ", which is looked for of every weight; export again");
  fault(others, "the value of ", " is no text, expected FLOAT, W8A8 or another type; export again");
  fault(floats, "calls ",
        " W8A8, and the index names no scales of it: expected FLOAT; export again");
}

void check_description(const ExportedDirectory& directory, const OverlayFile& overlay,
                       VerifyReport& report) {
  const JsonObject description = JsonObject::read(directory.path / kC8Description);
  const auto shown = [&](const char* key) {
    return description.has(key) ? description.shown(key) : std::string("missing");
  };
  if (shown("kv_cache_type") != "\"C8\"")
    report.faults.push_back(concat(kC8Description, ": kv_cache_type is ", shown("kv_cache_type"),
                                   ", expected C8: the cache would not be int8; export again"));
  if (!description.has("model_quant_type"))
    report.faults.push_back(concat(kC8Description, ": model_quant_type is missing, expected ",
                                   kC8Int8, "; export again"));
  check_names(description, overlay, report);
}

}  // namespace

void verify_c8(const ExportedDirectory& directory, VerifyReport& report) {
  const OverlayFile overlay = read_overlay(directory, c8_names, report);
  check_description(directory, overlay, report);
  const auto first = overlay.tensors.find(c8_names(0).front());
  if (first == overlay.tensors.end()) return;
  const Form form = form_of(directory, first->second);
  Vectors found;
  for (int64_t layer = 0; layer < overlay.layers; ++layer) read_layer(overlay, layer, form, found);
  for (const auto* const faults : {&found.forms, &found.offsets, &found.reciprocals})
    add_faults(kOverlay, *faults, report);
  if (!found.whole) return;
  check_values(kOverlay, found.table, report, least_scale(form.type));
  if (!directory.statistics) return;
  const StatisticsFile& file = *directory.statistics;
  compare_scales(kOverlay, found.table,
                 rounded_to(scales_by_channel(file.statistics, kLargestInt8),
                            file.provenance.model.weight_type),
                 report, file.statistics.head_dim);
}

}  // namespace kvcalib
