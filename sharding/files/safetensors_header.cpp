// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/safetensors_header.h"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>

#include "sharding/files/error.h"
#include "sharding/files/excerpt.h"
#include "sharding/files/json_reader.h"

namespace kvcalib {
namespace {

using nlohmann::json;

constexpr uint64_t kLongestHeader = 100'000'000;  // the format's own limit
constexpr uint64_t kAlignment = 8;
constexpr const char* kMetadata = "__metadata__";

struct DtypeSize {
  std::string_view dtype;
  uint64_t bytes;
};

constexpr std::array kDtypes{
    DtypeSize{"BOOL", 1},    DtypeSize{"U8", 1},      DtypeSize{"I8", 1},  DtypeSize{"F8_E4M3", 1},
    DtypeSize{"F8_E5M2", 1}, DtypeSize{"F8_E8M0", 1}, DtypeSize{"U16", 2}, DtypeSize{"I16", 2},
    DtypeSize{"F16", 2},     DtypeSize{"BF16", 2},    DtypeSize{"U32", 4}, DtypeSize{"I32", 4},
    DtypeSize{"F32", 4},     DtypeSize{"U64", 8},     DtypeSize{"I64", 8}, DtypeSize{"F64", 8},
    DtypeSize{"C64", 8}};

std::optional<uint64_t> size_of(std::string_view dtype) {
  const auto found = std::find_if(kDtypes.begin(), kDtypes.end(),
                                  [&](const DtypeSize& entry) { return entry.dtype == dtype; });
  return found == kDtypes.end() ? std::nullopt : std::optional(found->bytes);
}

std::string tensor_name(const std::string& origin, const std::string& name) {
  return concat(origin, ": tensor '", excerpt(name), "'");
}

std::map<std::string, std::string> parse_metadata(const json& entry, const std::string& origin) {
  std::map<std::string, std::string> metadata;
  if (entry.is_null()) return metadata;
  if (!entry.is_object()) throw Error(concat(origin, ": ", kMetadata, " is not a JSON object"));
  for (const auto& [key, value] : entry.items()) {
    if (!value.is_string()) {
      throw Error(concat(origin, ": ", kMetadata, " entry '", excerpt(key), "' is not a string"));
    }
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

bool is_list_of_sizes(const json& entry) {
  return entry.is_array() && std::all_of(entry.begin(), entry.end(), [](const json& number) {
           return number.is_number_unsigned() &&
                  number.get<uint64_t>() <=
                      static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
         });
}

SafetensorsHeader::Tensor parse_tensor(const std::string& what, const json& entry,
                                       uint64_t data_bytes) {
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets") || !entry["dtype"].is_string() ||
      !is_list_of_sizes(entry["shape"]) || !is_list_of_sizes(entry["data_offsets"]) ||
      entry["data_offsets"].size() != 2) {
    throw Error(concat(what, " is not described by dtype, shape and data_offsets"));
  }
  const SafetensorsHeader::Tensor tensor{
      entry["dtype"].get<std::string>(), entry["shape"].get<std::vector<int64_t>>(),
      entry["data_offsets"][0].get<uint64_t>(), entry["data_offsets"][1].get<uint64_t>()};
  if (tensor.begin > tensor.end || tensor.end > data_bytes) {
    throw Error(concat(what, " lies at bytes ", tensor.begin, " to ", tensor.end,
                       " of the data, which has ", data_bytes, "; the file is damaged or cut off"));
  }
  if (!size_of(tensor.dtype)) return tensor;  // a later type, whose size only its reader knows
  const uint64_t expected = tensor_bytes(what, tensor.dtype, tensor.shape);
  if (tensor.end - tensor.begin != expected) {
    throw Error(
        concat(what, " has ", tensor.end - tensor.begin, " bytes, its shape needs ", expected));
  }
  return tensor;
}

// The ranges must cover the data from its first byte to its last, each byte once.
void check_cover(const SafetensorsHeader& header, uint64_t data_bytes, const std::string& origin) {
  std::vector<std::tuple<uint64_t, uint64_t, std::string_view>> ranges;
  for (const auto& [name, tensor] : header.tensors)
    ranges.emplace_back(tensor.begin, tensor.end, name);
  std::sort(ranges.begin(), ranges.end());
  uint64_t covered = 0;
  for (const auto& [begin, end, name] : ranges) {
    if (begin != covered) {
      throw Error(concat(tensor_name(origin, std::string(name)), " begins at byte ", begin,
                         begin < covered ? ", inside another tensor; expected "
                                         : ", behind unclaimed bytes; expected ",
                         covered));
    }
    covered = end;
  }
  if (covered != data_bytes) {
    throw Error(concat(origin, ": the tensors end at byte ", covered, " of the data, which has ",
                       data_bytes));
  }
}

}  // namespace

std::string shape_text(std::span<const int64_t> shape) {
  std::string text;
  for (const int64_t extent : shape) text += concat(text.empty() ? "" : ", ", extent);
  return "[" + text + "]";
}

uint64_t tensor_bytes(const std::string& what, std::string_view dtype,
                      std::span<const int64_t> shape) {
  const std::optional<uint64_t> size = size_of(dtype);
  if (!size) {
    throw Error(
        concat(what, " has dtype '", excerpt(dtype), "', expected one such as F32, F16 or BF16"));
  }
  uint64_t bytes = *size;
  for (const int64_t extent : shape) {
    const auto factor = static_cast<uint64_t>(extent);
    if (extent < 0 || (factor != 0 && bytes > std::numeric_limits<int64_t>::max() / factor)) {
      throw Error(concat(what, " has the dimension ", extent, ", which no file can hold"));
    }
    bytes *= factor;
  }
  return bytes;
}

uint64_t SafetensorsHeader::length(std::string_view first_bytes, uint64_t file_bytes,
                                   const std::string& origin) {
  if (first_bytes.size() < kLengthBytes) {
    throw Error(concat(origin, ": has ", file_bytes, " bytes, too short for a safetensors file"));
  }
  uint64_t length = 0;
  for (uint64_t i = 0; i < kLengthBytes; ++i) {
    length |= static_cast<uint64_t>(static_cast<unsigned char>(first_bytes[i])) << (8 * i);
  }
  if (length > file_bytes - kLengthBytes) {
    throw Error(concat(origin, ": states a header of ", length, " bytes, but only ",
                       file_bytes - kLengthBytes, " follow; not a safetensors file, or cut off"));
  }
  if (length > kLongestHeader) {
    throw Error(concat(origin, ": states a header of ", length, " bytes, expected at most ",
                       kLongestHeader, "; not a safetensors file"));
  }
  return length;
}

SafetensorsHeader SafetensorsHeader::parse(std::string_view text, uint64_t data_bytes,
                                           const std::string& origin) {
  const json entries = parse_json(text, concat(origin, ": the header"));
  if (!entries.is_object()) {
    throw Error(concat(origin, ": the header is not a JSON object; not a safetensors file"));
  }
  SafetensorsHeader header;
  for (const auto& [name, entry] : entries.items()) {
    if (name == kMetadata)
      header.metadata = parse_metadata(entry, origin);
    else
      header.tensors[name] = parse_tensor(tensor_name(origin, name), entry, data_bytes);
  }
  check_cover(header, data_bytes, origin);
  return header;
}

std::string SafetensorsHeader::to_bytes() const {
  json entries = json::object();
  if (!metadata.empty()) entries[kMetadata] = metadata;
  for (const auto& [name, tensor] : tensors) {
    entries[name] = {{"dtype", tensor.dtype},
                     {"shape", tensor.shape},
                     {"data_offsets", {tensor.begin, tensor.end}}};
  }
  std::string text = entries.dump(-1, ' ', false, json::error_handler_t::replace);
  text.resize((text.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  std::string bytes;
  for (uint64_t i = 0; i < kLengthBytes; ++i)
    bytes.push_back(static_cast<char>(static_cast<uint64_t>(text.size()) >> (8 * i)));
  return bytes + text;
}

}  // namespace kvcalib
