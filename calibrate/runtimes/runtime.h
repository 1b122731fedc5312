// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "calibrate/statistics/decoding_rule.h"
#include "calibrate/statistics/kv_scale.h"
#include "calibrate/statistics/statistics_file.h"
#include "sharding/formats/model_config.h"
#include "sharding/formats/rotation.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// Of every delivery, whatever the runtime.
inline constexpr const char* kSummaryFileName = "summary.json";

// A file to be written: its name in the output directory and its bytes.
struct OutputFile {
  std::string name;
  std::string bytes;
};

// A model that is to be served with int8 KV.
struct ServedModel {
  const ModelConfig& config;
  int64_t ranks = 1;           // that serve
  int64_t embedding_rows = 0;  // on disk, as the runtime will read them; 0: not known, not checked
  int64_t length = 0;          // tokens of a calibration window
  bool zero_points = false;    // wanted of its scales
};

// What speaks against serving it, a sentence each.
struct RuntimeFindings {
  std::vector<std::string> faults;    // the runtime would misread or crash; with the way out
  std::vector<std::string> warnings;  // worth knowing
};

// What a runtime's files are made from.
struct CalibratedModel {
  const WeightDirectory& weights;
  const StatisticsFile& statistics;
  std::span<const KvScale> scales;  // [layers, ranks]
  int64_t ranks;
};

// The scales of a directory, as its runtime finds them there.
struct StoredScales {
  int64_t layers = 0;
  int64_t ranks = 0;
  int64_t values = 0;           // floats for each layer and rank: 2 or 4
  std::vector<KvScale> scales;  // [layers, ranks]
};

// Whether a runtime would load a directory's scales as meant.
struct VerifyReport {
  std::vector<std::string> faults;  // why it would not, a sentence each
  std::vector<std::string> notes;   // worth knowing
  int64_t layers = 0;               // of the model; 0: not readable
  int64_t serving_ranks = 0;

  bool good() const { return faults.empty(); }
};

// One release of a program that serves with static KV scales: what it accepts, how it rotates K,
// the files it reads and how they are checked.
class Runtime {
 public:
  virtual ~Runtime() = default;

  virtual std::string release() const = 0;  // "v0.3.0", as statistics and summary.json say
  virtual std::string title() const = 0;    // "TurboMind v0.3.0"

  // Of a model that is to be calibrated for it.
  virtual RuntimeFindings examine(const ServedModel& model) const = 0;
  // Whether its files can say another zero point than 0; else scales must be symmetric.
  virtual bool holds_zero_points() const = 0;
  // How K of a prompt of `length` tokens is rotated there.  Where the model rotates by its own
  // rules (ModelConfig::own_rotation) the runtime has no say.
  virtual Rotation rotation(const ModelConfig& config, int64_t length) const = 0;

  // Tokens of the longest session that it serves with int8 KV; 0: of any.
  virtual int64_t longest_session() const = 0;
  // Tokens of the sessions that it would serve of those asked for, or the model's; 0: not known.
  int64_t served_session(const ModelConfig& config, std::optional<int64_t> asked) const;
  // What sessions of `session_length` tokens find there, see statistics/session_ranges.h.
  KvStatistics served_ranges(const StatisticsFile& file, const ModelConfig& config,
                             int64_t session_length) const;

  // How it decodes over its int8 cache.
  virtual DecodingRule decoding() const = 0;

  // The files that it reads, without statistics and summary.  Throws Error for scales it has no
  // place for.
  virtual std::vector<OutputFile> files(const CalibratedModel& model) const = 0;
  // Their number, names and sizes in words, before any work.
  virtual std::string files_in_words(const ModelConfig& config, int64_t ranks) const = 0;
  // What of them goes beside the scales, in words; empty where nothing does.
  virtual std::string beside_scales_in_words(const WeightDirectory& weights) const = 0;
  // Reads the files of a directory back by its own rules.  `serving_ranks`: as the directory says
  // when not given.  Throws Error only when `directory` is no readable directory.
  virtual VerifyReport verify(const std::filesystem::path& directory,
                              std::optional<int64_t> serving_ranks) const = 0;
  // How to start it so that it takes the scales; empty where any way does.
  virtual std::string serving_note() const = 0;

 protected:
  Runtime() = default;
  Runtime(const Runtime&) = default;
  Runtime& operator=(const Runtime&) = default;
};

// Sentences one a line, each with `before` in front of it.
std::string in_lines(const std::vector<std::string>& sentences, const std::string& before = "");

// The warnings.  Throws Error with all faults, one a line.
std::vector<std::string> check_served(const Runtime& runtime, const ServedModel& model);

// The rows of the embedding that a runtime will read from disk; 0 where the weights are a model's
// own, from which it makes others.
int64_t served_embedding_rows(const WeightDirectory& weights);

}  // namespace kvcalib
