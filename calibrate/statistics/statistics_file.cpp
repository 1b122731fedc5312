// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/statistics_file.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <type_traits>
#include <utility>

#include "sharding/files/error.h"
#include "sharding/files/excerpt.h"
#include "sharding/files/json_object.h"
#include "sharding/files/metadata_file.h"
#include "sharding/files/safetensors.h"
#include "sharding/files/safetensors_header.h"
#include "sharding/files/safetensors_writer.h"
#include "sharding/formats/model_bounds.h"
#include "sharding/formats/model_config_json.h"

namespace kvcalib {

namespace {

using nlohmann::json;

constexpr const char* kFormat = "kvcalib-kv-statistics";
constexpr const char* kVersion = "2";
constexpr const char* kFirstVersion = "1";  // the four ranges alone
constexpr size_t kHashDigits = 64;          // of SHA-256

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

// A vector of a TensorHistograms, as a tensor.
struct HistogramPlane {
  const char* name;
  std::vector<float> TensorHistograms::*values;
  std::vector<int64_t> shape_of_head;
};
const std::vector<HistogramPlane>& histogram_planes() {
  static const std::vector<HistogramPlane> kHistogramPlanes = {
      {"counts", &TensorHistograms::counts, {kHistogramBins}},
      {"importance", &TensorHistograms::importance, {kHistogramBins}},
      {"extremes", &TensorHistograms::extremes, {kMostLeftOut + 1, 2}}};
  return kHistogramPlanes;
}

// A tensor of the file, and where its values are in statistics that have the file's shape.
template <typename Values>
struct FileTensor {
  std::vector<int64_t> shape;
  Values* values = nullptr;
  bool is_optional = false;  // the file need not have it
};

template <typename Statistics>
auto tensors_of(Statistics& statistics) {
  using Values = std::remove_reference_t<decltype((statistics.key_reach))>;
  const int64_t layers = statistics.layers, heads = statistics.kv_heads, dim = statistics.head_dim;
  std::map<std::string, FileTensor<Values>> tensors;
  for (const KvTensor& tensor : kKvTensors) {
    for (const Plane& plane : kPlanes)
      tensors[plane_name(tensor, plane)] = {{layers, heads, dim},
                                            &(statistics.*tensor.statistics.*plane.values)};
    for (const HistogramPlane& plane : histogram_planes()) {
      std::vector<int64_t> shape{layers, heads};
      shape.insert(shape.end(), plane.shape_of_head.begin(), plane.shape_of_head.end());
      tensors[concat(tensor.name, ".", plane.name)] = {
          shape, &(statistics.*tensor.histograms.*plane.values), /*is_optional=*/true};
    }
  }
  tensors["key.reach"] = {
      {layers, heads, dim / 2, kReachDirections}, &statistics.key_reach, /*is_optional=*/true};
  return tensors;
}

std::string metadata(const Safetensors& file, const std::string& key) {
  const auto found = file.metadata.find(key);
  return found == file.metadata.end() ? std::string() : found->second;
}

json to_json(const Provenance& provenance) {
  json data = json::array();
  for (const DataFile& file : provenance.data)
    data.push_back({{"path", file.path}, {"sha256", file.sha256}});
  json object = {{"program_version", provenance.program_version},
                 {"weights_fingerprint", provenance.weights_fingerprint},
                 {"model", provenance.model},
                 {"runtime", provenance.runtime},
                 {"compute_dtype", provenance.compute_dtype},
                 {"data", data},
                 {"tokenizer_sha256", provenance.tokenizer_sha256},
                 {"seed", provenance.seed},
                 {"samples", provenance.samples},
                 {"length", provenance.length},
                 {"packed", provenance.packed},
                 {"channel_order", provenance.channel_order}};
  if (provenance.equalised)
    object["equalised"] = {{"from", provenance.equalised->weights_fingerprint},
                           {"exact", provenance.equalised->exact}};
  return object;
}

std::string read_hash(const JsonObject& object, const char* key) {
  std::string hash = object.text(key);
  if (hash.size() != kHashDigits || hash.find_first_not_of("0123456789abcdef") != std::string::npos)
    object.refuse(
        concat(key, " = ", excerpt(hash), ", expected ", kHashDigits, " hexadecimal digits"));
  return hash;
}

std::string read_one_of(const JsonObject& object, const char* key,
                        std::initializer_list<std::string_view> known) {
  std::string text = object.text(key);
  if (std::find(known.begin(), known.end(), text) != known.end()) return text;
  std::string expected;
  for (const std::string_view word : known) expected += concat(expected.empty() ? "" : ", ", word);
  object.refuse(concat(key, " = ", excerpt(text), ", expected ", expected));
}

int64_t read_count(const JsonObject& object, const char* key) {
  const int64_t count = object.integer(key);
  if (count < 1 || count > kLargestSize)
    object.refuse(concat(key, " = ", count, ", expected a whole number from 1 to ", kLargestSize));
  return count;
}

Provenance read_provenance(const JsonObject& object) {
  Provenance provenance;
  provenance.program_version = object.text("program_version");
  provenance.weights_fingerprint = read_hash(object, "weights_fingerprint");
  if (!object.has("model")) object.refuse("model is missing");
  provenance.model = read_model(object.object("model"));
  provenance.runtime = object.text("runtime");
  provenance.compute_dtype =
      read_one_of(object, "compute_dtype", {"float32", "float16", "bfloat16"});
  for (const JsonObject& file : object.objects("data"))
    provenance.data.push_back({file.text("path"), read_hash(file, "sha256")});
  if (!object.text("tokenizer_sha256").empty())
    provenance.tokenizer_sha256 = read_hash(object, "tokenizer_sha256");
  provenance.seed = object.natural("seed");
  provenance.samples = read_count(object, "samples");
  provenance.length = read_count(object, "length");
  provenance.packed = object.flag("packed");
  provenance.channel_order = read_one_of(object, "channel_order", {"interleaved"});
  if (object.has("equalised")) {
    const JsonObject equalised = object.object("equalised");
    provenance.equalised = {read_hash(equalised, "from"), equalised.flag("exact")};
  }
  return provenance;
}

Provenance read_provenance(const Safetensors& file, const std::string& origin) {
  if (metadata(file, "format") != kFormat) {
    throw Error(concat(origin, ": not kvcalib's statistics; expected the kv_stats.safetensors of ",
                       "a calibration"));
  }
  const std::string version = metadata(file, "version");
  if (version != kVersion && version != kFirstVersion) {
    throw Error(concat(origin, ": statistics of version '", excerpt(version),
                       "', this program reads versions ", kFirstVersion, " and ", kVersion,
                       "; calibrate again"));
  }
  try {
    return read_provenance(
        JsonObject::parse(metadata(file, "provenance"), concat(origin, ": its provenance")));
  } catch (const Error& failure) {
    throw Error(concat(failure.what(), "; calibrate again"));
  }
}

// Nothing for one that is not there and need not be.
std::vector<float> read_tensor(const Safetensors& file, const std::string& origin,
                               const std::string& name,
                               const FileTensor<std::vector<float>>& wanted) {
  const auto found = file.tensors.find(name);
  if (found == file.tensors.end()) {
    if (wanted.is_optional) return {};
    throw Error(concat(origin, ": has no tensor '", name, "'; calibrate again"));
  }
  const SafetensorsTensor& tensor = found->second;
  if (tensor.dtype != "F32" || tensor.shape != wanted.shape) {
    throw Error(concat(origin, ": tensor '", name, "' is not F32 ", shape_text(wanted.shape),
                       ", as the model's layers, kv heads and head size make it; calibrate again"));
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

void check_reach(const KvStatistics& statistics, const std::string& origin) {
  for (size_t i = 0; i < statistics.key_reach.size(); ++i) {
    const float reach = statistics.key_reach[i];
    if (std::isfinite(reach)) continue;
    const auto [layer, head, channel] = statistics.place(i / kReachDirections * 2);
    throw Error(concat(origin, ": tensor 'key.reach', layer ", layer, ", head ", head,
                       ", rotary pair ", channel / 2, ": holds ", reach,
                       ", expected finite numbers; calibrate again"));
  }
}

// All of them or none; masses are not negative, and extremes hold 0.
void check_histograms(const KvStatistics& statistics, const std::string& origin) {
  const bool is_there = !statistics.key_histograms.empty();
  for (const KvTensor& tensor : kKvTensors) {
    const TensorHistograms& histograms = statistics.*tensor.histograms;
    for (const HistogramPlane& plane : histogram_planes()) {
      const std::vector<float>& values = histograms.*plane.values;
      const std::string name = concat(tensor.name, ".", plane.name);
      if (values.empty() == is_there)
        throw Error(concat(origin, ": tensor '", name, "' is ", is_there ? "missing" : "alone",
                           ", expected all of the histograms or none; calibrate again"));
      const bool has_ends = plane.values == &TensorHistograms::extremes;
      for (size_t i = 0; i < values.size(); ++i) {
        const float value = has_ends && i % 2 == 0 ? -values[i] : values[i];
        if (std::isfinite(value) && value >= 0) continue;
        const auto head = static_cast<int64_t>(
            i / (values.size() / static_cast<size_t>(statistics.layers * statistics.kv_heads)));
        throw Error(concat(origin, ": tensor '", name, "', layer ", head / statistics.kv_heads,
                           ", head ", head % statistics.kv_heads, ": holds ", values[i],
                           has_ends ? ", expected ends of a range about 0" : ", expected a mass",
                           "; calibrate again"));
      }
    }
  }
}

constexpr double kSmallestValue = 0x1p-24;

// That histograms are of the values whose ranges are beside them: a head has some, and none beyond
// what its channels span, but for the rounding of these to 16 bits.
void check_against_ranges(const KvStatistics& statistics, const std::string& origin,
                          const KvTensor& tensor) {
  const TensorHistograms& histograms = statistics.*tensor.histograms;
  if (histograms.empty()) return;
  constexpr double kRounding = 1.0 + 0x1p-7;
  const auto heads = static_cast<size_t>(statistics.layers * statistics.kv_heads);
  const auto width = static_cast<size_t>(statistics.head_dim);
  for (size_t head = 0; head < heads; ++head) {
    const HeadHistograms own = histograms.heads(head, 1);
    const ChannelStatistics ranges = (statistics.*tensor.statistics).channels(head * width, width);
    const double low = std::min(0.0f, *std::ranges::min_element(ranges.minimum));
    const double high = std::max(0.0f, *std::ranges::max_element(ranges.maximum));
    const Extremes extremes = extremes_of(own);
    const bool is_counted = std::ranges::any_of(own.counts, [](float count) { return count > 0; });
    if (is_counted && extremes.low >= low * kRounding - kSmallestValue &&
        extremes.high <= high * kRounding + kSmallestValue)
      continue;
    throw Error(concat(origin, ": tensors '", tensor.name, ".counts' and '", tensor.name,
                       ".extremes', layer ", head / static_cast<size_t>(statistics.kv_heads),
                       ", head ", head % static_cast<size_t>(statistics.kv_heads), ": ",
                       is_counted
                           ? concat("extremes [", extremes.low, ", ", extremes.high,
                                    "], expected them within the ranges, [", low, ", ", high, "]")
                           : std::string("no value is counted"),
                       "; calibrate again"));
  }
}

}  // namespace

void StatisticsFile::write(ByteSink& sink) const {
  auto tensors = tensors_of(statistics);
  std::erase_if(tensors, [](const auto& tensor) {
    return tensor.second.is_optional && tensor.second.values->empty();
  });

  SafetensorsHeader header;
  header.metadata = {
      {"format", kFormat},
      {"version", kVersion},
      {"provenance", to_json(provenance).dump(-1, ' ', false, json::error_handler_t::replace)}};
  for (const auto& [name, tensor] : tensors) header.tensors[name] = {"F32", tensor.shape};
  SafetensorsWriter writer(sink, std::move(header));
  for (const auto& [name, tensor] : tensors)
    writer.append(name, std::as_bytes(std::span(*tensor.values)));
  writer.finish();
}

StatisticsFile parse_statistics(std::string_view bytes, const std::string& origin) {
  const Safetensors file = Safetensors::parse(bytes, origin);
  StatisticsFile result;
  result.provenance = read_provenance(file, origin);
  const ModelConfig& model = result.provenance.model;
  KvStatistics& statistics = result.statistics;
  statistics.layers = model.layers;
  statistics.kv_heads = model.kv_heads;
  statistics.head_dim = model.head_dim;
  for (const auto& [name, tensor] : tensors_of(statistics))
    *tensor.values = read_tensor(file, origin, name, tensor);
  check_reach(statistics, origin);
  check_histograms(statistics, origin);
  for (const KvTensor& tensor : kKvTensors) {
    check_ranges(statistics, origin, tensor);
    check_against_ranges(statistics, origin, tensor);
  }
  return result;
}

StatisticsFile read_statistics(const std::filesystem::path& path) {
  return parse_statistics(read_metadata_file(path), path.string());
}

}  // namespace kvcalib
