// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/ascend_c8/verify_c8.h"

#include <algorithm>
#include <optional>

#include "calibrate/runtimes/ascend_c8/c8_tensors.h"
#include "calibrate/runtimes/overlay_file.h"
#include "calibrate/runtimes/scale_checks.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

// The type and length that every vector must have: of the statistics, or of the first vector.
struct Form {
  std::string type;
  size_t length = 0;
};

Form form_of(const ExportedDirectory& directory, const SafetensorsTensor& first) {
  if (!directory.statistics) return {first.dtype, to_values(first).size()};
  const StatisticsFile& file = *directory.statistics;
  return {std::string(c8_type(file.provenance.model.weight_type)),
          static_cast<size_t>(file.statistics.kv_heads * file.statistics.head_dim)};
}

// A vector; nothing, with a fault, for another form.
std::vector<float> read_vector(const std::string& name, const SafetensorsTensor& tensor,
                               const Form& form, VerifyReport& report) {
  std::vector<float> values = to_values(tensor);
  if (tensor.dtype == form.type && tensor.shape.size() == 1 && values.size() == form.length &&
      form.length > 1)
    return values;
  report.faults.push_back(
      concat(kOverlay, ": tensor '", name, "' is ", tensor.dtype, " of ", tensor.bytes.size(),
             " bytes, expected ", form.type, " [", form.length,
             "], a scale for each channel in the model's type: decoding passes no other shape; ",
             "export again"));
  return {};
}

// Nothing where a vector lacks.
std::optional<ScaleTable> read_table(const ExportedDirectory& directory, const OverlayFile& overlay,
                                     VerifyReport& report) {
  ScaleTable table;
  for (int64_t layer = 0; layer < overlay.layers; ++layer) {
    std::vector<std::vector<float>> vectors;
    for (const std::string& name : c8_names(layer)) {
      const auto found = overlay.tensors.find(name);
      if (found == overlay.tensors.end()) return std::nullopt;
      const Form form = form_of(directory, overlay.tensors.at(c8_names(0).front()));
      vectors.push_back(read_vector(name, found->second, form, report));
      if (vectors.back().empty()) return std::nullopt;
    }
    for (const size_t offset : {size_t{1}, size_t{3}})
      if (std::any_of(vectors[offset].begin(), vectors[offset].end(),
                      [](float value) { return value != 0.0f; }))
        report.faults.push_back(concat(kOverlay, ": tensor '", c8_names(layer)[offset],
                                       "' is not 0 throughout, and not every path of the runtime ",
                                       "reads it; export again"));
    table.push_back({vectors[0], vectors[2]});
  }
  return table;
}

void check_description(const ExportedDirectory& directory, int64_t layers, VerifyReport& report) {
  const JsonObject description = JsonObject::read(directory.path / kC8Description);
  const auto fault = [&](const auto&... parts) {
    report.faults.push_back(concat(kC8Description, ": ", parts...));
  };
  if (description.text("kv_cache_type", "") != "C8")
    fault("kv_cache_type is '", description.text("kv_cache_type", ""),
          "', expected C8: the cache would not be int8; export again");
  std::vector<std::string> scales, weights;
  for (int64_t layer = 0; layer < layers; ++layer) {
    for (const std::string& name : c8_names(layer))
      if (!description.has(name)) scales.push_back(name);
    const std::string weight = attention_of(layer) + ".k_proj.weight";
    if (!description.has(weight)) weights.push_back(weight);
  }
  if (!scales.empty())
    fault("does not name ", some_of(scales), ": the layer would be left out; export again");
  if (!weights.empty())
    fault("does not name ", some_of(weights),
          ", which is looked for of every weight; export again");
}

}  // namespace

void verify_c8(const ExportedDirectory& directory, VerifyReport& report) {
  const OverlayFile overlay = read_overlay(directory, c8_names, report);
  check_description(directory, overlay.layers, report);
  const std::optional<ScaleTable> table = read_table(directory, overlay, report);
  if (!table) return;
  check_values(kOverlay, *table, report);
  if (!directory.statistics) return;
  const StatisticsFile& file = *directory.statistics;
  compare_scales(kOverlay, *table,
                 rounded_to(scales_by_channel(file.statistics, kLargestInt8),
                            file.provenance.model.weight_type),
                 report, file.statistics.head_dim);
}

}  // namespace kvcalib
