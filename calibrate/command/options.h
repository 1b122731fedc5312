// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/delivery/output_place.h"
#include "calibrate/delivery/target.h"
#include "calibrate/evaluate/gates.h"

namespace kvcalib {

struct CalibrateOptions {
  std::filesystem::path weights;
  std::vector<std::string> data;
  std::filesystem::path tokenizer;  // empty: beside the weights
  std::optional<int64_t> samples;   // else as many as a file of token ids holds, or 128
  std::optional<int64_t> length;    // else as long as those are, or 2048
  uint64_t seed = 0;
  bool pack = false;
  bool histograms = false;  // are gathered, for methods that need them
  std::string devices;      // empty: GPUs if there are any, else the CPU
  int64_t micro_batch_tokens = 0;
  OutputOptions output;
  ScaleOptions scales;
  std::optional<std::filesystem::path> trace;  // where the time went, for a person to look at
  bool dry_run = false;
  bool quiet = false;
  bool json = false;
};

struct ExportOptions {
  std::filesystem::path statistics;
  std::filesystem::path weights;
  OutputOptions output;
  ScaleOptions scales;
};

struct EqualiseOptions {
  std::filesystem::path weights;
  std::filesystem::path statistics;
  OutputOptions output;
  std::optional<int64_t> session_length;  // tokens of the longest that is served; else the model's
  bool exact = false;
  bool quiet = false;
};

struct VerifyOptions {
  std::filesystem::path directory;
  std::vector<std::string> readers{std::string(kTurboMind)};  // of reader_names()
  RuntimeChoice runtime;
  std::optional<int64_t> serving_ranks;
  bool json = false;
};

struct ShardOptions {
  std::filesystem::path weights;
  std::filesystem::path output;
  int64_t ranks = 1;
  RuntimeChoice runtime;   // of TurboMind
  std::string model_name;  // empty: as config.ini of the weights has it
  bool force = false;
  bool quiet = false;
};

// A model in service, and loads of it.
struct ServiceOptions {
  std::filesystem::path weights;  // or a preset
  std::optional<int64_t> ranks;   // GPUs; else as the weights are cut
  RuntimeChoice runtime;          // of TurboMind
  std::vector<int64_t> sessions;  // at once, each in 16 bits and int8; empty: the runtime's most
  std::optional<int64_t> session_tokens, prompt_tokens;
};

// Of memory in service.
struct PlanOptions {
  ServiceOptions service;
  int64_t card_gigabytes = 80;
  bool json = false;
};

struct EvaluateOptions {
  std::filesystem::path weights;
  std::vector<std::string> scales;      // directories with scale files
  std::vector<std::string> statistics;  // files, of which scales are made by each of `methods`
  std::vector<ScaleMethod> methods;     // none: asymmetric, where the release holds zero points
  std::vector<std::string> formats;     // to compare with, by name
  std::vector<std::string> data, tasks;
  std::optional<std::filesystem::path>
      data_root;  // of the task files that a report among tasks names
  bool copy = false;
  std::filesystem::path tokenizer;  // empty: beside the weights
  int64_t length = 2048;            // tokens of a window, and of the longest text
  std::optional<int64_t> limit;     // windows of the data, items of each task
  uint64_t seed = 0;                // of random tokens
  Gates gates;                      // exit code 1 where they are not kept
  std::optional<std::filesystem::path> output;
  bool force = false;
  bool resume = false;
  RuntimeChoice runtime;
  std::optional<int64_t> serving_ranks;   // of scales from statistics; else as the weights are cut
  std::optional<int64_t> session_length;  // that scales from statistics are for; else the model's
  std::string devices;
  int64_t micro_batch_tokens = 0;
  int64_t group_tokens = 0;  // for each reading of the weights; 0: as many as there is memory for
  bool memory = false;       // hold what a rank in service would: nothing but `service` counts
  ServiceOptions service;    // of `memory`
  std::optional<std::filesystem::path> trace;
  bool quiet = false;
  bool json = false;
};

struct InspectOptions {
  std::filesystem::path path;
  bool json = false;
};

}  // namespace kvcalib
