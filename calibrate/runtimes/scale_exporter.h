// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/output/output_names.h"
#include "calibrate/runtimes/checkpoint.h"
#include "calibrate/runtimes/exported_directory.h"
#include "calibrate/runtimes/runtime.h"
#include "calibrate/statistics/statistics_file.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// Whom files are made for.
struct ExportTarget {
  const WeightDirectory& weights;
  const Checkpoint* checkpoint = nullptr;  // where ScaleExporter::names_tensors
  int64_t ranks = 1;                       // that serve
};

// A program that only reads scales: it has no say in how the model is run, and its files are made
// from statistics alone.  One of these is a folder beside this file and a row of the table of
// runtimes.  Nothing that is made here was run by the program that it is made for.
struct ScaleExporter {
  std::string_view name;          // on the command line
  std::string_view program;       // "vLLM", as messages name it
  std::string_view title;         // "vLLM, FP8 E4M3 cache"
  std::string_view formula;       // of a scale
  std::string_view source;        // what of it was read; "": it is nobody's
  std::string_view note;          // how to use the files; may be ""
  std::string_view warning = {};  // what to look at before; may be ""
  // config.json's, whose loaders are known to take scales; none: any.
  std::span<const std::string_view> architectures = {};
  bool names_tensors = true;  // needs the Hugging Face directory: ExportTarget::checkpoint
  bool counts_ranks = false;  // its files depend on the number of ranks that serve

  bool (*is_ours)(std::string_view file);
  std::string (*files_in_words)(int64_t layers, int64_t ranks);
  // Throws Error for what else the program would misread than other architectures; null: nothing.
  void (*check_own)(const ExportTarget& target) = nullptr;
  // Throws Error where statistics give none.
  std::vector<OutputFile> (*files)(const ExportTarget& target, const StatisticsFile& statistics);
  // Reads a directory's files back as the program does and tells each fault.  Throws Error for a
  // file that cannot be read, which is a fault too.
  void (*verify)(const ExportedDirectory& directory, VerifyReport& report);

  // Throws Error for a model that the program would misread, before any work.
  void check(const ExportTarget& target) const;
};

// The names of a whole delivery to it: its files, statistics and summary.
OutputNames export_names(const ScaleExporter& exporter);

// For check_own of those that look for scales beside every layer's attention: as
// check_attention_names.
void check_attention(const ExportTarget& target);

struct ExportReport : VerifyReport {
  std::string unseen;  // what nothing in the directory tells; "": all was seen
};

// Whether it would load a directory's files as meant.  Throws Error only when `directory` is no
// readable directory.
ExportReport verify_export(const ScaleExporter& exporter, const std::filesystem::path& directory,
                           std::optional<int64_t> serving_ranks);

}  // namespace kvcalib
