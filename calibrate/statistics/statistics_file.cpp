// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/statistics_file.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "sharding/files/error.h"
#include "sharding/files/metadata_file.h"
#include "sharding/files/safetensors.h"
#include "sharding/files/safetensors_writer.h"
#include "sharding/formats/model_config_json.h"

namespace kvcalib {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DataFile, path, sha256)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Provenance, program_version, weights_fingerprint, model, runtime,
                                   compute_dtype, data, tokenizer_sha256, seed, samples, length,
                                   packed, channel_order)

namespace {

using nlohmann::json;

constexpr const char* kFormat = "kvcalib-kv-statistics";
constexpr const char* kVersion = "1";

static_assert(std::endian::native == std::endian::little, "files are little-endian");

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
    return json::parse(metadata(file, "provenance")).get<Provenance>();
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

void StatisticsFile::write(ByteSink& sink) const {
  std::map<std::string, std::span<const float>> planes;
  for (const KvTensor& tensor : kKvTensors)
    for (const Plane& plane : kPlanes)
      planes[plane_name(tensor, plane)] = statistics.*tensor.statistics.*plane.values;

  SafetensorsHeader header;
  header.metadata = {
      {"format", kFormat},
      {"version", kVersion},
      {"provenance", json(provenance).dump(-1, ' ', false, json::error_handler_t::replace)}};
  for (const auto& [name, values] : planes)
    header.tensors[name] = {"F32", {statistics.layers, statistics.kv_heads, statistics.head_dim}};
  SafetensorsWriter writer(sink, std::move(header));
  for (const auto& [name, values] : planes) writer.append(name, std::as_bytes(values));
  writer.finish();
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
  return parse_statistics(read_metadata_file(path), path.string());
}

}  // namespace kvcalib
