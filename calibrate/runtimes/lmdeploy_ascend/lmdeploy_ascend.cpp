// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/lmdeploy_ascend/lmdeploy_ascend.h"

#include <array>
#include <charconv>

#include "calibrate/runtimes/scale_checks.h"
#include "sharding/files/error.h"
#include "sharding/files/excerpt.h"
#include "sharding/files/metadata_file.h"

namespace kvcalib {
namespace {

constexpr const char* kFile = "record.txt";
constexpr std::string_view kScale = "scale:", kOffset = "offset:";
constexpr std::string_view kSpace = " \t\n\r\f\v", kDigits = "0123456789";

// The shortest that reads back as the same, without an exponent.
std::string fixed_point(float value) {
  std::array<char, 128> text{};
  const auto end =
      std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed).ptr;
  return {text.data(), end};
}

std::vector<OutputFile> files(const ExportTarget&, const StatisticsFile& statistics) {
  std::string text;
  const ScaleTable table = scales_by_layer(statistics.statistics, kLargestInt8);
  for (size_t layer = 0; layer < table.size(); ++layer)
    for (const auto& [symbol, scales] :
         {std::pair('k', &table[layer].keys), std::pair('v', &table[layer].values)})
      text +=
          concat("record {\n  key: \"layers.", layer, ".", symbol,
                 "_cache\"\n  value { scale: ", fixed_point(scales->front()), " offset: 0 }\n}\n");
  return {{kFile, text}};
}

std::string_view skip(std::string_view text, std::string_view characters) {
  const size_t first = text.find_first_not_of(characters);
  return first == std::string_view::npos ? std::string_view() : text.substr(first);
}

std::string_view beginning(std::string_view text, std::string_view characters) {
  return text.substr(0, text.find_first_not_of(characters));
}

// Takes all of `text` as Python's float() takes such a one; nothing for what that refuses.
std::optional<float> to_float(std::string_view text) {
  float value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Throws Error for what no int32 tensor holds.
float to_offset(std::string_view text) {
  int32_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc{} || end != text.data() + text.size())
    throw Error(
        concat(kFile, ": offset '", excerpt(text), "' is no int32, expected 0; export ", "again"));
  return static_cast<float>(value);
}

// The match that begins behind "scale:"; nothing where there is none.
std::optional<RecordedScale> match(std::string_view text) {
  text = skip(text, kSpace);
  const std::string_view scale = beginning(text, "0123456789.-");
  text = skip(text.substr(scale.size()), kSpace);
  if (scale.empty() || !text.starts_with(kOffset)) return std::nullopt;
  text = skip(text.substr(kOffset.size()), kSpace);
  const size_t sign = text.starts_with("-") ? 1 : 0;
  const std::string_view digits = beginning(text.substr(sign), kDigits);
  if (digits.empty()) return std::nullopt;
  const std::optional<float> number = to_float(scale);
  if (!number)
    throw Error(concat(kFile, ": scale '", excerpt(scale), "' is no number; export again"));
  return RecordedScale{*number, to_offset(text.substr(0, sign + digits.size()))};
}

// What stands behind "scale:" where LMDeploy finds no number.
std::string unmatched_in(std::string_view text) {
  for (size_t at = text.find(kScale); at != std::string_view::npos; at = text.find(kScale, at + 1))
    if (!match(text.substr(at + kScale.size())))
      return concat("; 'scale:", excerpt(text.substr(at + kScale.size(), 32)),
                    "' is not read: digits, a point and a whole offset are, no exponent");
  return "";
}

void verify(const ExportedDirectory& directory, VerifyReport& report) {
  const std::string text = read_metadata_file(directory.path / kFile);
  const std::vector<RecordedScale> found = parse_record(text);
  const int64_t layers =
      directory.layers > 0 ? directory.layers : static_cast<int64_t>(found.size() / 2);
  if (layers == 0 || static_cast<int64_t>(found.size()) != 2 * layers) {
    report.faults.push_back(concat(kFile, ": ", found.size(), " scales with offsets are read, ",
                                   "expected ", 2 * layers, ", of K and V of each layer",
                                   unmatched_in(text), "; export again"));
    return;
  }
  ScaleTable table;
  std::vector<std::string> offsets;
  for (size_t layer = 0; layer < static_cast<size_t>(layers); ++layer) {
    const RecordedScale &key = found[2 * layer], &value = found[2 * layer + 1];
    table.push_back({{key.scale}, {value.scale}});
    if (key.offset != 0.0f || value.offset != 0.0f)
      offsets.push_back(concat("layer ", layer, ": offsets ", key.offset, ", ", value.offset,
                               ", expected 0: their sign differs between runtimes; export again"));
  }
  add_faults(kFile, offsets, report);
  check_values(kFile, table, report);
  if (directory.statistics)
    compare_scales(kFile, table, scales_by_layer(directory.statistics->statistics, kLargestInt8),
                   report);
}

}  // namespace

std::vector<RecordedScale> parse_record(std::string_view text) {
  std::vector<RecordedScale> found;
  for (size_t at = text.find(kScale); at != std::string_view::npos;
       at = text.find(kScale, at + kScale.size()))
    if (const std::optional<RecordedScale> one = match(text.substr(at + kScale.size())))
      found.push_back(*one);
  return found;
}

const ScaleExporter kLmDeployAscend = {
    .name = "lmdeploy-ascend",
    .program = "LMDeploy",
    .title = "LMDeploy's PyTorch engine on Ascend, int8 cache",
    .formula = "absmax / 127, one for K and one for V of a layer, offset 0",
    .source = "LMDeploy's dlinfer/ascend/op_backend.py of 2025 to September 2026",
    .note =
        "serve in eager mode with quant_policy=8 and ASCEND_QUANT_RECORD_FILE the absolute "
        "path of record.txt, under dlinfer v0.1.3.post1 to v0.2.3: v0.2.5 and later read the "
        "int8 codes back without their scales",
    .names_tensors = false,
    .is_ours = [](std::string_view file) { return file == kFile; },
    .files_in_words = [](int64_t layers,
                         int64_t) { return concat(kFile, " (", 2 * layers, " records)"); },
    .files = files,
    .verify = verify,
};

}  // namespace kvcalib
