// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/statistics_file.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "sharding/files/error.h"
#include "sharding/files/file_bytes.h"
#include "sharding/files/safetensors.h"

namespace kvcalib {
namespace {

using nlohmann::json;

constexpr const char* kFormat = "kvcalib-kv-statistics";
constexpr const char* kVersion = "1";

static_assert(std::endian::native == std::endian::little, "files are little-endian");

json to_json(const RopeScaling& scaling) {
  return {{"kind", static_cast<int>(scaling.kind)},
          {"factor", scaling.factor},
          {"low_frequency_factor", scaling.low_frequency_factor},
          {"high_frequency_factor", scaling.high_frequency_factor},
          {"original_positions", scaling.original_positions}};
}

RopeScaling scaling_from(const json& object) {
  RopeScaling scaling;
  const int kind = object.at("kind").get<int>();
  if (kind < 0 || kind > static_cast<int>(RopeScaling::Kind::kQwen))
    throw Error(concat("own_rotation: kind ", kind, " is unknown"));
  scaling.kind = static_cast<RopeScaling::Kind>(kind);
  object.at("factor").get_to(scaling.factor);
  object.at("low_frequency_factor").get_to(scaling.low_frequency_factor);
  object.at("high_frequency_factor").get_to(scaling.high_frequency_factor);
  object.at("original_positions").get_to(scaling.original_positions);
  return scaling;
}

// What only some models have is left out for the others.
json to_json(const ModelConfig& model) {
  json object = {{"layers", model.layers},
                 {"hidden", model.hidden},
                 {"heads", model.heads},
                 {"kv_heads", model.kv_heads},
                 {"head_dim", model.head_dim},
                 {"intermediate", model.intermediate},
                 {"vocab", model.vocab},
                 {"stored_ranks", model.stored_ranks},
                 {"weight_type", name(model.weight_type)},
                 {"attention_bias", model.attention_bias},
                 {"norm_eps", model.norm_eps},
                 {"rope_theta", model.rope_theta},
                 {"rope_scaling_factor", model.rope_scaling_factor},
                 {"use_dynamic_ntk", model.use_dynamic_ntk},
                 {"use_logn_attention", model.use_logn_attention},
                 {"max_position_embeddings", model.max_position_embeddings},
                 {"session_length", model.session_length}};
  if (model.query_key_norm) object["query_key_norm"] = true;
  if (model.sliding_window > 0) object["sliding_window"] = model.sliding_window;
  if (model.own_rotation) object["own_rotation"] = to_json(*model.own_rotation);
  return object;
}

ModelConfig model_from(const json& object) {
  ModelConfig model;
  object.at("layers").get_to(model.layers);
  object.at("hidden").get_to(model.hidden);
  object.at("heads").get_to(model.heads);
  object.at("kv_heads").get_to(model.kv_heads);
  object.at("head_dim").get_to(model.head_dim);
  object.at("intermediate").get_to(model.intermediate);
  object.at("vocab").get_to(model.vocab);
  object.at("stored_ranks").get_to(model.stored_ranks);
  model.weight_type = object.at("weight_type") == name(WeightType::kBFloat16)
                          ? WeightType::kBFloat16
                          : WeightType::kFloat16;
  object.at("attention_bias").get_to(model.attention_bias);
  object.at("norm_eps").get_to(model.norm_eps);
  object.at("rope_theta").get_to(model.rope_theta);
  object.at("rope_scaling_factor").get_to(model.rope_scaling_factor);
  object.at("use_dynamic_ntk").get_to(model.use_dynamic_ntk);
  object.at("use_logn_attention").get_to(model.use_logn_attention);
  object.at("max_position_embeddings").get_to(model.max_position_embeddings);
  object.at("session_length").get_to(model.session_length);
  model.query_key_norm = object.value("query_key_norm", false);
  model.sliding_window = object.value("sliding_window", int64_t{0});
  if (object.contains("own_rotation")) model.own_rotation = scaling_from(object["own_rotation"]);
  return model;
}

json to_json(const Provenance& provenance) {
  json data = json::array();
  for (const DataFile& file : provenance.data) {
    data.push_back({{"path", file.path}, {"sha256", file.sha256}});
  }
  return {{"program_version", provenance.program_version},
          {"weights_fingerprint", provenance.weights_fingerprint},
          {"model", to_json(provenance.model)},
          {"runtime", provenance.runtime},
          {"compute_dtype", provenance.compute_dtype},
          {"data", data},
          {"tokenizer_sha256", provenance.tokenizer_sha256},
          {"seed", provenance.seed},
          {"samples", provenance.samples},
          {"length", provenance.length},
          {"packed", provenance.packed},
          {"channel_order", provenance.channel_order}};
}

Provenance provenance_from(const json& object) {
  Provenance provenance;
  object.at("program_version").get_to(provenance.program_version);
  object.at("weights_fingerprint").get_to(provenance.weights_fingerprint);
  provenance.model = model_from(object.at("model"));
  object.at("runtime").get_to(provenance.runtime);
  object.at("compute_dtype").get_to(provenance.compute_dtype);
  for (const json& file : object.at("data")) {
    provenance.data.push_back(
        {file.at("path").get<std::string>(), file.at("sha256").get<std::string>()});
  }
  object.at("tokenizer_sha256").get_to(provenance.tokenizer_sha256);
  object.at("seed").get_to(provenance.seed);
  object.at("samples").get_to(provenance.samples);
  object.at("length").get_to(provenance.length);
  object.at("packed").get_to(provenance.packed);
  object.at("channel_order").get_to(provenance.channel_order);
  return provenance;
}

// A vector of a TensorStatistics, which the file holds as a tensor.
struct Plane {
  const char* name;
  std::vector<float> TensorStatistics::*values;
};
constexpr std::array<Plane, 2> kPlanes = {
    {{"minimum", &TensorStatistics::minimum}, {"maximum", &TensorStatistics::maximum}}};

std::string plane_name(const KvTensor& tensor, const Plane& plane) {
  return concat(tensor.name, ".", plane.name);
}

SafetensorsTensor to_tensor(const KvStatistics& statistics, const std::vector<float>& values) {
  SafetensorsTensor tensor{
      "F32", {statistics.layers, statistics.kv_heads, statistics.head_dim}, {}};
  tensor.bytes.assign(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  return tensor;
}

std::string metadata(const Safetensors& file, const std::string& key) {
  const auto found = file.metadata.find(key);
  return found == file.metadata.end() ? std::string() : found->second;
}

Provenance read_provenance(const Safetensors& file, const std::string& origin) {
  if (metadata(file, "format") != kFormat) {
    throw Error(concat(origin, ": not kvcalib's statistics; expected the kv_stats.safetensors of ",
                       "a calibration"));
  }
  if (metadata(file, "version") != kVersion) {
    throw Error(concat(origin, ": statistics of version '", metadata(file, "version"),
                       "', this program reads version ", kVersion, "; calibrate again"));
  }
  try {
    return provenance_from(json::parse(metadata(file, "provenance")));
  } catch (const json::exception& failure) {
    throw Error(
        concat(origin, ": its provenance is damaged (", failure.what(), "); calibrate again"));
  }
}

std::vector<float> read_tensor(const Safetensors& file, const std::string& origin,
                               const std::string& name, const ModelConfig& model) {
  const auto found = file.tensors.find(name);
  if (found == file.tensors.end()) {
    throw Error(concat(origin, ": has no tensor '", name, "'; calibrate again"));
  }
  const SafetensorsTensor& tensor = found->second;
  if (tensor.dtype != "F32" ||
      tensor.shape != std::vector<int64_t>{model.layers, model.kv_heads, model.head_dim}) {
    throw Error(concat(origin, ": tensor '", name, "' is not F32 [", model.layers, ", ",
                       model.kv_heads, ", ", model.head_dim, "], the model's layers, kv heads and ",
                       "head size; calibrate again"));
  }
  std::vector<float> values(tensor.bytes.size() / sizeof(float));
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

void check_ranges(const KvStatistics& statistics, const std::string& origin,
                  const KvTensor& tensor) {
  const auto& [minimum, maximum] = statistics.*tensor.statistics;
  for (size_t i = 0; i < minimum.size(); ++i) {
    if (std::isfinite(minimum[i]) && std::isfinite(maximum[i]) && minimum[i] <= maximum[i]) {
      continue;
    }
    const auto [layer, head, channel] = statistics.place(i);
    throw Error(concat(origin, ": tensor '", tensor.name, "', layer ", layer, ", head ", head,
                       ", channel ", channel, ": the range is [", minimum[i], ", ", maximum[i],
                       "], expected finite numbers in order; calibrate again"));
  }
}

}  // namespace

std::string to_safetensors(const KvStatistics& statistics, const Provenance& provenance) {
  Safetensors file;
  file.metadata["format"] = kFormat;
  file.metadata["version"] = kVersion;
  file.metadata["provenance"] =
      to_json(provenance).dump(-1, ' ', false, json::error_handler_t::replace);
  for (const KvTensor& tensor : kKvTensors)
    for (const Plane& plane : kPlanes)
      file.tensors[plane_name(tensor, plane)] =
          to_tensor(statistics, statistics.*tensor.statistics.*plane.values);
  return file.to_bytes();
}

StatisticsFile parse_statistics(std::string_view bytes, const std::string& origin) {
  const Safetensors file = Safetensors::parse(bytes, origin);
  StatisticsFile result;
  result.provenance = read_provenance(file, origin);
  const ModelConfig& model = result.provenance.model;
  if (model.layers < 1 || model.kv_heads < 1 || model.head_dim < 1) {
    throw Error(concat(origin, ": its provenance states ", model.layers, " layers of ",
                       model.kv_heads, " kv heads x ", model.head_dim, "; calibrate again"));
  }
  KvStatistics& statistics = result.statistics;
  statistics.layers = model.layers;
  statistics.kv_heads = model.kv_heads;
  statistics.head_dim = model.head_dim;
  for (const KvTensor& tensor : kKvTensors)
    for (const Plane& plane : kPlanes)
      statistics.*tensor.statistics.*plane.values =
          read_tensor(file, origin, plane_name(tensor, plane), model);
  for (const KvTensor& tensor : kKvTensors) check_ranges(statistics, origin, tensor);
  return result;
}

StatisticsFile read_statistics(const std::filesystem::path& path) {
  return parse_statistics(read_file(path), path.string());
}

}  // namespace kvcalib
