// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/command_line.h"

#include <algorithm>

#include "calibrate/command/parser.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr const char* kWeightsHelp =
    "TurboMind weights directory (config.ini), or Hugging Face model (config.json, safetensors)";

void declare_scales(Parser& parser) {
  parser.value("Output", "runtime", "TurboMind release that will read them (default 0.3.0)",
               "VERSION");
  parser.value("Output", "serving-tp",
               "ranks that will serve (default: the ranks the weights are cut for)", "N");
}

ScaleOptions scales_of(const Parser& parser) {
  ScaleOptions scales;
  if (parser.has("runtime")) scales.runtime = parser.text("runtime");
  scales.serving_ranks = parser.optional_number("serving-tp", 1);
  return scales;
}

void declare_output(Parser& parser) {
  parser.value("Output", "output", "new directory for the files", "DIR");
  parser.flag("Output", "in-place", "put the files into the weights directory, all at once");
  declare_scales(parser);
  parser.flag("Output", "symmetric", "zero points of 0 (default: asymmetric min/max)");
  parser.flag("Output", "force", "replace existing scale files or an earlier output");
}

OutputOptions output_of(const Parser& parser, bool needed) {
  OutputOptions output;
  if (parser.has("output")) output.output = parser.text("output");
  output.in_place = parser.is_set("in-place");
  output.force = parser.is_set("force");
  if (output.output && output.in_place) parser.fail("--output and --in-place exclude each other");
  if (needed && !output.output && !output.in_place)
    parser.fail("where do the files go? give --output DIR or --in-place");
  return output;
}

int64_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<int64_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int64_t>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    int64_t diagonal = row[0];
    row[0] = static_cast<int64_t>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int64_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

}  // namespace

std::optional<std::string> nearest(const std::string& wrong,
                                   const std::vector<std::string>& known) {
  std::optional<std::string> best;
  int64_t best_distance = static_cast<int64_t>(wrong.size()) / 2 + 1;
  for (const std::string& name : known) {
    const int64_t distance = edit_distance(wrong, name);
    if (distance >= best_distance) continue;
    best_distance = distance;
    best = name;
  }
  return best;
}

CalibrateOptions parse_calibrate(const std::vector<std::string>& arguments) {
  Parser parser("calibrate", "Run text through the model and write its int8 KV cache scales.",
                "--weights DIR --data FILE... (--output DIR | --in-place)");
  parser.value("Input", "weights", kWeightsHelp, "DIR");
  parser.values("Input", "data", "text (.json.gz, .jsonl, .txt; globs) or token ids (.npy)",
                "FILE...");
  parser.value("Input", "tokenizer", "SentencePiece model (default: beside the weights)", "FILE");
  parser.value("Calibration", "samples", "windows to run (default 128, or all of a .npy)", "N");
  parser.value("Calibration", "length", "tokens in a window (default 2048, or as a .npy)", "N");
  parser.value("Calibration", "seed", "of the random windows (default 0)", "N");
  parser.flag("Calibration", "pack", "lay short documents end to end");
  declare_output(parser);
  parser.value("Parallelism", "devices",
               "cpu, cpu:N, gpu, gpu:N or a list as 0,2,3 (default: gpu if any)", "LIST");
  parser.value("Parallelism", "micro-batch",
               "tokens computed at a time (default: 16384 on GPUs, 2048 on CPUs)", "TOKENS");
  parser.value("Other", "trace", "write a Chrome trace of where the time went, for ui.perfetto.dev",
               "FILE");
  parser.flag("Other", "dry-run", "print what would be done; write nothing");
  parser.flag("Other", "quiet", "no progress on stderr");
  parser.flag("Other", "json", "results on stdout as JSON");
  parser.positional("data");
  parser.parse(arguments);

  CalibrateOptions options;
  options.weights = parser.required("weights", "--weights DIR");
  if (parser.has("data")) options.data = parser.texts("data");
  if (parser.has("tokenizer")) options.tokenizer = parser.text("tokenizer");
  options.samples = parser.optional_number("samples", 1);
  options.length = parser.optional_number("length", 1);
  parser.number<uint64_t>("seed", 0, options.seed);
  options.pack = parser.is_set("pack");
  if (parser.has("devices")) options.devices = parser.text("devices");
  parser.number<int64_t>("micro-batch", 1, options.micro_batch_tokens);
  if (parser.has("trace")) options.trace = parser.text("trace");
  options.dry_run = parser.is_set("dry-run");
  options.output = output_of(parser, !options.dry_run);
  options.scales = scales_of(parser);
  options.scales.symmetric = parser.is_set("symmetric");
  options.quiet = parser.is_set("quiet");
  options.json = parser.is_set("json");
  if (options.data.empty() && !options.dry_run) parser.fail("--data FILE... is missing");
  return options;
}

ExportOptions parse_export(const std::vector<std::string>& arguments) {
  Parser parser("export", "Make scale files again from the statistics of an earlier run.",
                "--stats FILE --weights DIR (--output DIR | --in-place)");
  parser.value("Input", "stats", "kv_stats.safetensors of a calibration", "FILE");
  parser.value("Input", "weights", kWeightsHelp, "DIR");
  declare_output(parser);
  parser.parse(arguments);

  ExportOptions options;
  options.statistics = parser.required("stats", "--stats FILE");
  options.weights = parser.required("weights", "--weights DIR");
  options.output = output_of(parser, true);
  options.scales = scales_of(parser);
  options.scales.symmetric = parser.is_set("symmetric");
  return options;
}

VerifyOptions parse_verify(const std::vector<std::string>& arguments) {
  Parser parser("verify", "Would the runtime load a directory's scales as they are meant?", "DIR");
  parser.value("Input", "directory", "weights directory, or the output of calibrate", "DIR");
  declare_scales(parser);
  parser.flag("Other", "json", "results on stdout as JSON");
  parser.positional("directory");
  parser.parse(arguments);

  VerifyOptions options;
  options.directory = parser.required("directory", "the directory to verify");
  const ScaleOptions scales = scales_of(parser);
  options.runtime = scales.runtime;
  options.serving_ranks = scales.serving_ranks;
  options.json = parser.is_set("json");
  return options;
}

InspectOptions parse_inspect(const std::vector<std::string>& arguments) {
  Parser parser("inspect", "Show ranges and scales, and the layers that stand out.", "PATH");
  parser.value("Input", "path", "kv_stats.safetensors, or a directory with scale files", "PATH");
  parser.flag("Other", "json", "results on stdout as JSON");
  parser.positional("path");
  parser.parse(arguments);
  return {parser.required("path", "the file or directory to inspect"), parser.is_set("json")};
}

std::string program_help() {
  return R"(kvcalib: int8 KV cache scales for TurboMind, from a sharded weights directory

Usage:
  kvcalib calibrate --weights DIR --data FILE... (--output DIR | --in-place)
  kvcalib export    --stats FILE --weights DIR (--output DIR | --in-place)
  kvcalib verify    DIR
  kvcalib inspect   PATH
  kvcalib shard     --weights DIR --output DIR --tp N

  calibrate   run text through the model and write its scales and config patch
  export      make scale files again from the statistics of an earlier run
  verify      would the runtime load these scales as they are meant?
  inspect     show ranges and scales, and the layers that stand out
  shard       cut a model for N ranks: the weights directory that will be served

  kvcalib COMMAND --help tells the options of each; kvcalib --version.
Exit codes: 0 done, 1 failed, 2 wrong usage.
)";
}

}  // namespace kvcalib
