// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/kvcalib_json/kvcalib_json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "calibrate/runtimes/layer_scales.h"
#include "calibrate/runtimes/scale_checks.h"
#include "calibrate/statistics/scale_method.h"
#include "sharding/files/error.h"
#include "sharding/files/json_object.h"
#include "sharding/files/json_writer.h"
#include "sharding/formats/model_bounds.h"

namespace kvcalib {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFile = "kvcalib.json";
constexpr const char* kFormat = "kvcalib-json";
constexpr int64_t kVersion = 1;

// Of one layer: [kv_heads][head_dim], channels of K in halves.
Json plane(const KvStatistics& statistics, const std::vector<float>& values, int64_t layer,
           bool is_key) {
  const auto channels = static_cast<size_t>(statistics.kv_heads * statistics.head_dim);
  const auto first = values.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(layer)) *
                                          static_cast<std::ptrdiff_t>(channels);
  std::vector<float> row(first, first + static_cast<std::ptrdiff_t>(channels));
  if (is_key) row = halves_of_pairs(row, statistics.head_dim);
  Json heads = Json::array();
  for (auto head = row.begin(); head != row.end(); head += statistics.head_dim)
    heads.push_back(std::vector<float>(head, head + statistics.head_dim));
  return heads;
}

// The scales that runtimes want, by layer and head.
struct Scales {
  explicit Scales(const KvStatistics& statistics)
      : int8_layers(scales_by_layer(statistics, kLargestInt8)),
        float8_layers(scales_by_layer(statistics, kLargestFloat8)),
        int8_heads(scales_by_head(statistics, kLargestInt8)),
        float8_heads(scales_by_head(statistics, kLargestFloat8)) {}
  ScaleTable int8_layers, float8_layers, int8_heads, float8_heads;
};

Json layer_json(const KvStatistics& statistics, const Scales& scales, int64_t layer) {
  Json json = {{"layer", layer}};
  for (const KvTensor& tensor : kKvTensors) {
    const bool is_key = tensor.statistics == &KvStatistics::keys;
    const auto of = [&](const ScaleTable& table) -> const std::vector<float>& {
      const LayerScales& found = table[static_cast<size_t>(layer)];
      return is_key ? found.keys : found.values;
    };
    const TensorScale zeroed =
        ScaleMethod::kAsymmetric.scale_of(statistics.part(tensor, layer, 0, 1));
    const TensorStatistics& ranges = statistics.*tensor.statistics;
    json[tensor.name] = {
        {"minimum", plane(statistics, ranges.minimum, layer, is_key)},
        {"maximum", plane(statistics, ranges.maximum, layer, is_key)},
        {"layer",
         {{"int8_symmetric", of(scales.int8_layers).front()},
          {"int8_asymmetric", {{"scale", zeroed.scale}, {"zero", zeroed.zero}}},
          {"float8_e4m3", of(scales.float8_layers).front()}}},
        {"heads",
         {{"int8_symmetric", of(scales.int8_heads)}, {"float8_e4m3", of(scales.float8_heads)}}}};
  }
  return json;
}

std::vector<OutputFile> files(const ExportTarget&, const StatisticsFile& file) {
  const Provenance& provenance = file.provenance;
  const ModelConfig& model = provenance.model;
  Json data = Json::array();
  for (const DataFile& read : provenance.data)
    data.push_back({{"file", read.path}, {"sha256", read.sha256}});
  Json json = {{"format", kFormat},
               {"version", kVersion},
               {"program_version", provenance.program_version},
               {"weights_fingerprint", provenance.weights_fingerprint},
               {"model",
                {{"layers", model.layers},
                 {"heads", model.heads},
                 {"kv_heads", model.kv_heads},
                 {"head_dim", model.head_dim},
                 {"weight_type", name(model.weight_type)}}},
               {"calibration",
                {{"runtime", provenance.runtime},
                 {"compute_dtype", provenance.compute_dtype},
                 {"samples", provenance.samples},
                 {"length", provenance.length},
                 {"seed", provenance.seed},
                 {"data", std::move(data)}}},
               {"key_channel_order", "half-split"},
               {"layers", Json::array()}};
  const Scales scales(file.statistics);
  for (int64_t layer = 0; layer < file.statistics.layers; ++layer)
    json["layers"].push_back(layer_json(file.statistics, scales, layer));
  return {{kFile, json_text(std::move(json))}};
}

// Fills a layer's part of `values` [layers, kv_heads, head_dim] from [kv_heads][head_dim].
void read_plane(const JsonObject& tensor, const char* key, bool is_key, int64_t layer,
                const KvStatistics& shape, std::vector<float>& values) {
  const nlohmann::json* const heads = tensor.find(key);
  const auto width = static_cast<size_t>(shape.head_dim);
  const auto refuse = [&] {
    tensor.refuse(concat(key, ": expected ", shape.kv_heads, " lists of ", width,
                         " finite numbers, one a channel; export again"));
  };
  if (heads == nullptr || !heads->is_array() ||
      heads->size() != static_cast<size_t>(shape.kv_heads))
    refuse();
  std::vector<float> row;
  for (const nlohmann::json& head : *heads) {
    if (!head.is_array() || head.size() != width) refuse();
    for (const nlohmann::json& value : head) {
      if (!value.is_number() || !std::isfinite(value.get<float>())) refuse();
      row.push_back(value.get<float>());
    }
  }
  if (is_key) row = pairs_of_halves(row, shape.head_dim);
  std::copy(row.begin(), row.end(),
            values.begin() +
                static_cast<std::ptrdiff_t>(layer) * static_cast<std::ptrdiff_t>(row.size()));
}

KvStatistics read_ranges(const JsonObject& json) {
  if (json.text("format", "") != kFormat || json.integer("version", 0) != kVersion)
    json.refuse(concat("expected format \"", kFormat, "\", version ", kVersion));
  if (json.text("key_channel_order", "") != "half-split")
    json.refuse("key_channel_order: expected \"half-split\"");
  const JsonObject model = json.object("model");
  const std::vector<JsonObject> layers = json.objects("layers");
  const int64_t heads = model.integer("kv_heads"), width = model.integer("head_dim");
  if (static_cast<int64_t>(layers.size()) != model.integer("layers"))
    json.refuse(concat("layers: ", layers.size(), " of the model's ", model.integer("layers")));
  if (heads < 1 || heads > kMostHeads || width < 2 || width > kLargestHeadDim || width % 2 != 0)
    model.refuse(concat(heads, " kv heads x ", width, ": no such model"));
  KvStatistics statistics;
  statistics.layers = static_cast<int64_t>(layers.size());
  statistics.kv_heads = heads;
  statistics.head_dim = width;
  for (int64_t layer = 0; layer < statistics.layers; ++layer) {
    const JsonObject& object = layers[static_cast<size_t>(layer)];
    if (object.integer("layer") != layer)
      object.refuse(concat("layer = ", object.integer("layer"), ", expected ", layer));
    for (const KvTensor& tensor : kKvTensors) {
      const bool is_key = tensor.statistics == &KvStatistics::keys;
      TensorStatistics& ranges = statistics.*tensor.statistics;
      const size_t behind = static_cast<size_t>(layer + 1) * static_cast<size_t>(heads * width);
      ranges.minimum.resize(behind);
      ranges.maximum.resize(behind);
      const JsonObject planes = object.object(tensor.name);
      read_plane(planes, "minimum", is_key, layer, statistics, ranges.minimum);
      read_plane(planes, "maximum", is_key, layer, statistics, ranges.maximum);
    }
  }
  return statistics;
}

void verify(const ExportedDirectory& directory, VerifyReport& report) {
  const JsonObject json = JsonObject::read(directory.path / kFile);
  const KvStatistics ranges = read_ranges(json);
  const auto fault = [&](const auto&... parts) {
    report.faults.push_back(concat(kFile, ": ", parts..., "; export again"));
  };
  const Scales scales(ranges);
  const nlohmann::json& layers = *json.find("layers");
  std::vector<std::string> others;
  for (int64_t layer = 0; layer < ranges.layers; ++layer) {
    const nlohmann::json expected = layer_json(ranges, scales, layer);
    if (layers[static_cast<size_t>(layer)] != expected)
      others.push_back(
          concat("layer ", layer, ": its scales are not those of its ranges; export again"));
  }
  add_faults(kFile, others, report);
  check_values(kFile, scales.int8_layers, report);
  if (directory.layers > 0 && directory.layers != ranges.layers)
    return fault(ranges.layers, " layers, expected ", directory.layers);
  if (!directory.statistics) return;
  const KvStatistics& expected = directory.statistics->statistics;
  if (expected.keys == ranges.keys && expected.values == ranges.values) return;
  if (expected.keys == ranges.values && expected.values == ranges.keys)
    fault("K has V's ranges and V has K's, by ", kStatisticsFileName);
  else
    fault("not the ranges of ", kStatisticsFileName);
}

}  // namespace

const ScaleExporter kKvcalibJson = {
    .name = "kvcalib-json",
    .program = "kvcalib",
    .title = "kvcalib.json, for programs of your own",
    .formula = "ranges of every channel; absmax / 127, absmax / 448, (max - min) / 255",
    .source = "",
    .note = "",
    .names_tensors = false,
    .is_ours = [](std::string_view file) { return file == kFile; },
    .files_in_words = [](int64_t, int64_t) { return std::string(kFile); },
    .files = files,
    .verify = verify,
};

}  // namespace kvcalib
