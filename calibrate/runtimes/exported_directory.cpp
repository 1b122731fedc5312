// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/exported_directory.h"

#include <algorithm>
#include <functional>

#include "calibrate/runtimes/checkpoint.h"
#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"
#include "sharding/formats/model_bounds.h"

namespace kvcalib {
namespace {

// What lies beside says of the model, taken one after the other.
class Shape {
 public:
  Shape(ExportedDirectory& found, VerifyReport& report) : found_(found), report_(report) {}

  void take_layers(const std::string& file, std::string_view key, int64_t value) {
    take({found_.layers, layers_by_, kMostLayers, "layers"}, file, key, value);
  }
  void take_kv_heads(const std::string& file, std::string_view key, int64_t value) {
    take({found_.kv_heads, heads_by_, kMostHeads, "kv heads"}, file, key, value);
  }
  void take_head_dim(const std::string& file, std::string_view key, int64_t value) {
    take({found_.head_dim, width_by_, kLargestHeadDim, "channels a head"}, file, key, value);
  }

 private:
  struct Number {
    int64_t& value;
    std::string& by;  // the file that said it first
    int64_t most;
    const char* what;
  };

  // 0: not said.  The last that says it is right.
  void take(Number number, const std::string& file, std::string_view key, int64_t value) {
    if (value < 0 || value > number.most)
      throw Error(concat(file, ": ", key, " = ", value, ": no model has so many ", number.what));
    if (value == 0) return;
    if (number.value > 0 && number.value != value)
      report_.faults.push_back(concat(file, ": ", key, " = ", value, ", but ", number.by, " is of ",
                                      number.value, " ", number.what,
                                      ": export with the statistics of this model"));
    if (number.value == 0) number.by = file;
    number.value = value;
  }

  ExportedDirectory& found_;
  VerifyReport& report_;
  std::string layers_by_, heads_by_, width_by_;
};

void look_at_statistics(ExportedDirectory& found, Shape& shape) {
  if (!found.has(kStatisticsFileName)) return;
  found.statistics = read_statistics(found.path / kStatisticsFileName);
  const KvStatistics& statistics = found.statistics->statistics;
  shape.take_layers(kStatisticsFileName, "layers", statistics.layers);
  shape.take_kv_heads(kStatisticsFileName, "kv_heads", statistics.kv_heads);
  shape.take_head_dim(kStatisticsFileName, "head_dim", statistics.head_dim);
}

void look_at_summary(ExportedDirectory& found, Shape& shape, VerifyReport& report) {
  if (!found.has(kSummaryFileName)) return;
  const JsonObject summary = JsonObject::read(found.path / kSummaryFileName);
  if (summary.text("program", "") != "kvcalib" || !summary.has("for")) return;
  found.summary = summary;
  shape.take_layers(kSummaryFileName, "layers", summary.integer("layers", 0));
  shape.take_kv_heads(kSummaryFileName, "kv_heads", summary.integer("kv_heads", 0));
  shape.take_head_dim(kSummaryFileName, "head_dim", summary.integer("head_dim", 0));
  if (!found.serving_ranks && summary.has("serving_tp"))
    found.serving_ranks = summary.integer("serving_tp");
  for (const std::string& file : summary.texts("files"))
    if (!found.has(file) && file != kStatisticsFileName)
      report.notes.push_back(concat(kSummaryFileName, " names ", file, ", which is not here"));
}

// Whether two can be divided without a rest.
bool divides(int64_t whole, int64_t part) { return part > 0 && whole > 0 && whole % part == 0; }

void look_at_config(ExportedDirectory& found, Shape& shape) {
  if (!found.has(kCheckpointConfig)) return;
  found.config = JsonObject::read(found.path / kCheckpointConfig);
  const JsonObject& config = *found.config;
  const int64_t heads = config.integer("num_attention_heads", 0);
  const int64_t hidden = config.integer("hidden_size", 0);
  shape.take_layers(kCheckpointConfig, "num_hidden_layers", config.integer("num_hidden_layers", 0));
  const char* const kv_heads =
      config.has("num_key_value_heads") ? "num_key_value_heads" : "num_attention_heads";
  shape.take_kv_heads(kCheckpointConfig, kv_heads, config.integer(kv_heads, 0));
  for (const char* const key : {"head_dim", "head_size"})
    if (config.has(key)) return shape.take_head_dim(kCheckpointConfig, key, config.integer(key));
  if (divides(hidden, heads))
    shape.take_head_dim(kCheckpointConfig, "hidden_size / num_attention_heads", hidden / heads);
}

}  // namespace

bool ExportedDirectory::has(std::string_view file) const {
  return kind_at(path / file) != FileKind::kNothing;
}

ExportedDirectory look_at_export(const std::filesystem::path& directory,
                                 std::optional<int64_t> serving_ranks, VerifyReport& report) {
  if (kind_behind(directory) != FileKind::kDirectory)
    throw Error(concat(directory.string(),
                       ": no directory; expected one that kvcalib export --for ",
                       "has written, or the checkpoint that its files were laid into"));
  ExportedDirectory found;
  found.path = directory;
  found.serving_ranks = serving_ranks;
  Shape shape(found, report);
  const std::function<void()> looks[] = {[&] { look_at_statistics(found, shape); },
                                         [&] { look_at_summary(found, shape, report); },
                                         [&] { look_at_config(found, shape); }};
  for (const std::function<void()>& look : looks) {
    try {
      look();
    } catch (const Error& failure) {
      report.faults.emplace_back(failure.what());
    }
  }
  if (!found.statistics)
    report.notes.push_back(concat("no ", kStatisticsFileName, " here: scales that are those of ",
                                  "other layers, of K instead of V or reciprocal are not seen"));
  return found;
}

}  // namespace kvcalib
