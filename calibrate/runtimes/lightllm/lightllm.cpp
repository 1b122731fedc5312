// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/lightllm/lightllm.h"

#include <array>
#include <nlohmann/json.hpp>

#include "calibrate/runtimes/scale_checks.h"
#include "sharding/files/error.h"
#include "sharding/files/json_object.h"
#include "sharding/files/json_writer.h"
#include "sharding/formats/model_bounds.h"

namespace kvcalib {
namespace {

// One of the two files.
struct Form {
  const char* file;
  const char* type;
  ScaleTable (*scales)(const KvStatistics& statistics, float largest_code);
  bool by_head;
};
constexpr std::array<Form, 2> kForms = {
    {{"kv_cache_calib.json", "per_head", scales_by_head, true},
     {"kv_cache_calib_per_tensor.json", "per_tensor", scales_by_layer, false}}};

std::vector<OutputFile> files(const ExportTarget& target, const StatisticsFile& statistics) {
  std::vector<OutputFile> files;
  for (const Form& form : kForms) {
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    const ScaleTable table = form.scales(statistics.statistics, kLargestFloat8);
    for (const LayerScales& layer : table) {
      std::vector<float> row = layer.keys;
      row.insert(row.end(), layer.values.begin(), layer.values.end());
      rows.push_back(row);
    }
    files.push_back(
        {form.file, json_text({{"version", "1.0"},
                               {"architectures", target.checkpoint->architecture},
                               {"quant_type", form.type},
                               {"qmin", -kLargestFloat8},
                               {"qmax", kLargestFloat8},
                               {"num_layers", statistics.statistics.layers},
                               {"num_head", statistics.statistics.kv_heads},
                               {"scales_shape", {rows.size(), 2 * table.front().keys.size()}},
                               {"scales", rows}})});
  }
  return files;
}

// Throws Error for rows that are not [layers, 2 `width`] numbers.
ScaleTable read_table(const JsonObject& json, int64_t layers, int64_t width) {
  const nlohmann::json expected = {layers, 2 * width};
  const nlohmann::json* const shape = json.find("scales_shape");
  if (shape == nullptr || *shape != expected)
    json.refuse(concat("scales_shape is ", json.shown("scales_shape"), ", expected ",
                       expected.dump(), "; export again"));
  const auto refuse = [&] {
    json.refuse(concat("scales: expected ", layers, " lists of ", 2 * width,
                       " numbers, as scales_shape says; export again"));
  };
  const nlohmann::json* const rows = json.find("scales");
  if (rows == nullptr || !rows->is_array() || static_cast<int64_t>(rows->size()) != layers)
    refuse();
  ScaleTable table;
  for (const nlohmann::json& row : *rows) {
    if (!row.is_array() || static_cast<int64_t>(row.size()) != 2 * width) refuse();
    LayerScales layer;
    for (size_t i = 0; i < row.size(); ++i) {
      if (!row[i].is_number()) refuse();
      (static_cast<int64_t>(i) < width ? layer.keys : layer.values).push_back(row[i].get<float>());
    }
    table.push_back(std::move(layer));
  }
  return table;
}

void verify_form(const ExportedDirectory& directory, const Form& form, VerifyReport& report) {
  const JsonObject json = JsonObject::read(directory.path / form.file);
  const auto fault = [&](const auto&... parts) {
    report.faults.push_back(concat(form.file, ": ", parts...));
  };
  if (json.text("quant_type", "") != form.type)
    fault("quant_type is '", json.text("quant_type", ""), "', expected ", form.type);
  const auto largest = static_cast<double>(kLargestFloat8);
  if (json.number("qmin", 0) != -largest || json.number("qmax", 0) != largest)
    fault("qmin, qmax are ", json.shown("qmin"), ", ", json.shown("qmax"),
          ", expected -448, 448 of E4M3");
  const std::string architecture = json.text("architectures");
  if (directory.config) {
    const std::vector<std::string> stated = directory.config->texts("architectures");
    if (stated.empty() || stated.front() != architecture)
      fault("architectures is '", architecture, "', which is not that of ", kCheckpointConfig,
            ": LightLLM refuses it; export from this model");
  }
  const int64_t layers = json.integer("num_layers"), heads = json.integer("num_head");
  if (layers < 1 || layers > kMostLayers || heads < 1 || heads > kMostHeads)
    return fault("num_layers = ", layers, ", num_head = ", heads, ": no model has these");
  if (directory.layers > 0 && layers != directory.layers)
    return fault("num_layers = ", layers, ", expected ", directory.layers,
                 ": LightLLM refuses it; export from this model");
  if (directory.kv_heads > 0 && heads != directory.kv_heads)
    return fault("num_head = ", heads, ", expected ", directory.kv_heads,
                 " kv heads; export again");
  const ScaleTable table = read_table(json, layers, form.by_head ? heads : 1);
  check_values(form.file, table, report);
  if (directory.statistics)
    compare_scales(form.file, table, form.scales(directory.statistics->statistics, kLargestFloat8),
                   report);
}

void verify(const ExportedDirectory& directory, VerifyReport& report) {
  std::vector<std::string> missing;
  for (const Form& form : kForms) {
    if (directory.has(form.file))
      verify_form(directory, form, report);
    else
      missing.emplace_back(form.file);
  }
  if (missing.size() == 1)
    report.notes.push_back(concat("no ", missing.front(), " here: LightLLM's other way of scales ",
                                  "cannot be served from this directory"));
  if (missing.size() == kForms.size())
    report.faults.push_back(concat("neither ", kForms[0].file, " nor ", kForms[1].file,
                                   " is here: LightLLM would take 1.0; export again"));
}

}  // namespace

const ScaleExporter kLightLlm = {
    .name = "lightllm",
    .program = "LightLLM",
    .title = "LightLLM, FP8 E4M3 cache",
    .formula = "absmax / 448, of each kv head and of each layer",
    .source = "LightLLM's fp8_static_per_{head,tensor}_quant_mem_manager.py of 2026",
    .note =
        "serve with --kv_quant_calibration_config_path kv_cache_calib.json --llm_kv_type "
        "fp8kv_sph, or kv_cache_calib_per_tensor.json and fp8kv_spt",
    .is_ours =
        [](std::string_view file) { return file == kForms[0].file || file == kForms[1].file; },
    .files_in_words = [](int64_t, int64_t) { return concat(kForms[0].file, ", ", kForms[1].file); },
    .files = files,
    .verify = verify,
};

}  // namespace kvcalib
