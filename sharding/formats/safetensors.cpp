// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/safetensors.h"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "sharding/formats/error.h"
#include "sharding/formats/file_bytes.h"

namespace kvcalib {
namespace {

using nlohmann::json;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kHeaderAlignment = 8;
constexpr const char* kMetadata = "__metadata__";

struct DtypeSize {
  std::string_view dtype;
  uint64_t bytes;
};

constexpr std::array<DtypeSize, 13> kDtypes{
    DtypeSize{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"U16", 2}, {"I16", 2}, {"F16", 2}, {"BF16", 2},
    DtypeSize{"U32", 4},  {"I32", 4}, {"F32", 4}, {"U64", 8}, {"I64", 8}, {"F64", 8}};

// The bytes a tensor must have; `what` begins the message of the Error for a dtype or shape that
// no tensor can have.
uint64_t size_of(const std::string& what, std::string_view dtype,
                 const std::vector<int64_t>& shape) {
  const auto found = std::find_if(kDtypes.begin(), kDtypes.end(),
                                  [&](const DtypeSize& entry) { return entry.dtype == dtype; });
  if (found == kDtypes.end()) {
    throw Error(concat(what, " has dtype '", dtype, "', expected one such as F32, F16 or BF16"));
  }
  uint64_t bytes = found->bytes;
  for (const int64_t extent : shape) {
    const auto factor = static_cast<uint64_t>(extent);
    if (extent < 0 || (factor != 0 && bytes > std::numeric_limits<int64_t>::max() / factor)) {
      throw Error(concat(what, " has the dimension ", extent, ", which no file can hold"));
    }
    bytes *= factor;
  }
  return bytes;
}

std::string tensor_name(const std::string& origin, const std::string& name) {
  return concat(origin, ": tensor '", name, "'");
}

// A tensor's place in the data that follows the header.
struct Range {
  std::string name;
  uint64_t begin = 0;
  uint64_t end = 0;
};

// The JSON header and the data behind it.
std::pair<json, std::string_view> parse_header(std::string_view bytes, const std::string& origin) {
  if (bytes.size() < kLengthBytes) {
    throw Error(concat(origin, ": has ", bytes.size(), " bytes, too short for a safetensors file"));
  }
  uint64_t length = 0;
  for (uint64_t i = 0; i < kLengthBytes; ++i) {
    length |= static_cast<uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  }
  if (length > bytes.size() - kLengthBytes) {
    throw Error(concat(origin, ": states a header of ", length, " bytes, but only ",
                       bytes.size() - kLengthBytes, " follow; not a safetensors file, or cut off"));
  }
  json header = json::parse(bytes.substr(kLengthBytes, length), nullptr, false);
  if (!header.is_object()) {
    throw Error(concat(origin, ": the header is not a JSON object; not a safetensors file"));
  }
  return {std::move(header), bytes.substr(kLengthBytes + length)};
}

std::map<std::string, std::string> parse_metadata(const json& entry, const std::string& origin) {
  std::map<std::string, std::string> metadata;
  if (!entry.is_object()) throw Error(concat(origin, ": ", kMetadata, " is not a JSON object"));
  for (const auto& [key, value] : entry.items()) {
    if (!value.is_string()) {
      throw Error(concat(origin, ": ", kMetadata, " entry '", key, "' is not a string"));
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

// Fills dtype, shape and bytes of one tensor and returns its range.
Range parse_tensor(const std::string& origin, const std::string& name, const json& entry,
                   std::string_view data, SafetensorsTensor& tensor) {
  const std::string what = tensor_name(origin, name);
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets") || !entry["dtype"].is_string() ||
      !is_list_of_sizes(entry["shape"]) || !is_list_of_sizes(entry["data_offsets"]) ||
      entry["data_offsets"].size() != 2) {
    throw Error(concat(what, " is not described by dtype, shape and data_offsets"));
  }
  tensor.dtype = entry["dtype"].get<std::string>();
  tensor.shape = entry["shape"].get<std::vector<int64_t>>();
  const Range range{name, entry["data_offsets"][0].get<uint64_t>(),
                    entry["data_offsets"][1].get<uint64_t>()};
  if (range.begin > range.end || range.end > data.size()) {
    throw Error(concat(what, " lies at bytes ", range.begin, " to ", range.end,
                       " of the data, which has ", data.size(),
                       "; the file is damaged or cut off"));
  }
  const uint64_t expected = size_of(what, tensor.dtype, tensor.shape);
  if (range.end - range.begin != expected) {
    throw Error(
        concat(what, " has ", range.end - range.begin, " bytes, its shape needs ", expected));
  }
  tensor.bytes = data.substr(range.begin, range.end - range.begin);
  return range;
}

// The ranges must cover the data from its first byte to its last, each byte once.
void check_cover(std::vector<Range> ranges, uint64_t data_bytes, const std::string& origin) {
  std::sort(ranges.begin(), ranges.end(), [](const Range& left, const Range& right) {
    return std::pair(left.begin, left.end) < std::pair(right.begin, right.end);
  });
  uint64_t covered = 0;
  for (const Range& range : ranges) {
    if (range.begin != covered) {
      throw Error(concat(tensor_name(origin, range.name), " begins at byte ", range.begin,
                         range.begin < covered ? ", inside another tensor; expected "
                                               : ", behind unclaimed bytes; expected ",
                         covered));
    }
    covered = range.end;
  }
  if (covered != data_bytes) {
    throw Error(concat(origin, ": the tensors end at byte ", covered, " of the data, which has ",
                       data_bytes));
  }
}

}  // namespace

std::string Safetensors::to_bytes() const {
  json header = json::object();
  if (!metadata.empty()) header[kMetadata] = metadata;
  uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    const uint64_t expected = size_of(concat("tensor '", name, "'"), tensor.dtype, tensor.shape);
    if (tensor.bytes.size() != expected) {
      throw Error(concat("tensor '", name, "' has ", tensor.bytes.size(),
                         " bytes, its shape needs ", expected));
    }
    header[name] = {{"dtype", tensor.dtype},
                    {"shape", tensor.shape},
                    {"data_offsets", {offset, offset + expected}}};
    offset += expected;
  }
  std::string text = header.dump(-1, ' ', false, json::error_handler_t::replace);
  text.resize((text.size() + kHeaderAlignment - 1) / kHeaderAlignment * kHeaderAlignment, ' ');

  std::string bytes;
  bytes.reserve(kLengthBytes + text.size() + offset);
  for (uint64_t i = 0; i < kLengthBytes; ++i) {
    bytes.push_back(static_cast<char>(static_cast<uint64_t>(text.size()) >> (8 * i)));
  }
  bytes += text;
  for (const auto& [name, tensor] : tensors) bytes += tensor.bytes;
  return bytes;
}

Safetensors Safetensors::parse(std::string_view bytes, const std::string& origin) {
  const auto [header, data] = parse_header(bytes, origin);
  Safetensors file;
  std::vector<Range> ranges;
  for (const auto& [name, entry] : header.items()) {
    if (name == kMetadata) {
      file.metadata = parse_metadata(entry, origin);
    } else {
      ranges.push_back(parse_tensor(origin, name, entry, data, file.tensors[name]));
    }
  }
  check_cover(std::move(ranges), data.size(), origin);
  return file;
}

Safetensors Safetensors::read(const std::filesystem::path& path) {
  return parse(read_file(path), path.string());
}

}  // namespace kvcalib
