// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "calibrate/command/options.h"
#include "calibrate/command/parser.h"

namespace kvcalib {

// What several commands declare alike.

inline constexpr const char* kWeightsHelp =
    "TurboMind weights directory (config.ini), or Hugging Face model (config.json, safetensors)";

void add_weights(Parser& parser, std::filesystem::path& weights, const std::string& help);

// `directory`: a path, or an optional one.
template <typename Path>
void add_output(Parser& parser, Path& directory, const std::string& contents) {
  parser.value({"Output", "output", "new directory for the " + contents, "DIR"}, directory);
}

void add_force(Parser& parser, bool& force, const std::string& replaced);
// Those that files are made for, or read as.
void add_readers(Parser& parser, std::vector<std::string>& readers);
void add_runtime(Parser& parser, std::string& runtime);
void add_serving(Parser& parser, std::string& runtime, std::optional<int64_t>& ranks);

// What a line says of the method that scales are made by.
struct GivenMethod {
  std::optional<std::string> name;
  bool is_symmetric = false;  // by --symmetric
};

void add_session_length(Parser& parser, std::optional<int64_t>& tokens);
void add_delivery(Parser& parser, OutputOptions& output, ScaleOptions& scales, GivenMethod& method);
void add_trace(Parser& parser, std::optional<std::filesystem::path>& trace);
void add_quiet(Parser& parser, bool& quiet);
void add_json(Parser& parser, bool& json);

// Throw UsageError.  Numbers beyond a limit would leave those that they are multiplied with.
void check_limit(const Parser& parser, const char* option, int64_t value, int64_t most);
void check_serving(const Parser& parser, const std::optional<int64_t>& ranks);
void check_session_length(const Parser& parser, const std::optional<int64_t>& tokens);
void check_place(const Parser& parser, const OutputOptions& output, bool needed);
// For what none is, one named twice, and options that mean nothing to any of them.
void check_readers(const Parser& parser, const std::vector<std::string>& readers);

// Throw UsageError for what no method is.
ScaleMethod read_method(const Parser& parser, const std::string& given);
void take_method(const Parser& parser, const GivenMethod& given, ScaleOptions& scales);
// All names, with their parameters.
std::string method_names();

}  // namespace kvcalib
