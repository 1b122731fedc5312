// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/command_line.h"

#include "calibrate/command/parallelism_options.h"
#include "calibrate/command/service_options.h"
#include "calibrate/command/shared_options.h"
#include "calibrate/data/window_request.h"
#include "sharding/files/error.h"
#include "sharding/ranks/rank.h"

namespace kvcalib {
namespace {

constexpr int64_t kMostCardGigabytes = 100'000;

void add_input(Parser& parser, CalibrateOptions& options) {
  add_weights(parser, options.weights, kWeightsHelp);
  parser.values(
      {"Input", "data", "text (.json.gz, .jsonl, .txt; globs) or token ids (.npy)", "FILE..."},
      options.data);
  parser.positional("data");
  parser.value({"Input", "tokenizer", "SentencePiece model (default: beside the weights)", "FILE"},
               options.tokenizer);
}

void add_windows(Parser& parser, CalibrateOptions& options) {
  const WindowRequest defaults;
  parser.number<int64_t>(
      {"Calibration", "samples",
       concat("windows to run (default ", defaults.samples, ", or all of a .npy)"), "N"},
      1, options.samples);
  parser.number<int64_t>(
      {"Calibration", "length",
       concat("tokens in a window (default ", defaults.length, ", or as a .npy)"), "N"},
      1, options.length);
  parser.number<uint64_t>(
      {"Calibration", "seed", concat("of the random windows (default ", options.seed, ")"), "N"}, 0,
      options.seed);
  parser.flag("Calibration", "pack", "lay short documents end to end", options.pack);
  parser.flag("Calibration", "histograms",
              "gather what percentile, mse, entropy, importance and sinks-apart are made of, for "
              "export --method (they imply it)",
              options.histograms);
}

}  // namespace

CalibrateOptions parse_calibrate(const Heading& heading,
                                 const std::vector<std::string>& arguments) {
  CalibrateOptions options;
  Parser parser(heading);
  add_input(parser, options);
  add_windows(parser, options);
  GivenMethod method;
  add_delivery(parser, options.output, options.scales, method);
  add_parallelism(parser, options.devices, options.micro_batch_tokens);
  add_trace(parser, options.trace);
  parser.flag("Other", "dry-run", "print what would be done; write nothing", options.dry_run);
  add_quiet(parser, options.quiet);
  add_json(parser, options.json);
  parser.parse(arguments);

  take_method(parser, method, options.scales);
  check_readers(parser, options.scales.readers);
  options.histograms |= options.scales.method.needs_histograms();
  check_place(parser, options.output, !options.dry_run);
  check_micro_batch(parser, options.micro_batch_tokens);
  check_serving(parser, options.scales.serving_ranks);
  check_session_length(parser, options.scales.session_length);
  if (options.data.empty() && !options.dry_run) parser.fail("--data FILE... is missing");
  return options;
}

PlanOptions parse_plan(const Heading& heading, const std::vector<std::string>& arguments) {
  PlanOptions options;
  Parser parser(heading);
  parser.value(
      {"Model", "weights",
       "weights directory, TurboMind's or Hugging Face's, or a preset of configs/", "PATH"},
      options.service.weights);
  parser.require("weights");
  parser.number<int64_t>({"Service", "devices",
                          "how many GPUs serve, a rank each (default: the ranks the weights are "
                          "cut for)",
                          "N"},
                         1, options.service.ranks);
  parser.value(
      {"Service", "runtime",
       concat("TurboMind release that serves (default ", options.service.runtime.release, ")"),
       "VERSION"},
      options.service.runtime.release);
  add_loads(parser, "Service", options.service);
  parser.number<int64_t>(
      {"Service", "card",
       concat("memory of a GPU in GiB, as cards are named (default ", options.card_gigabytes, ")"),
       "GB"},
      1, options.card_gigabytes);
  add_json(parser, options.json);
  parser.parse(arguments);
  check_loads(parser, options.service);
  check_limit(parser, "devices", options.service.ranks.value_or(1), kMostRanks);
  check_limit(parser, "card", options.card_gigabytes, kMostCardGigabytes);
  return options;
}

ShardOptions parse_shard(const Heading& heading, const std::vector<std::string>& arguments) {
  ShardOptions options;
  Parser parser(heading);
  add_weights(parser, options.weights,
              "Hugging Face model (config.json, safetensors), or TurboMind weights directory");
  add_output(parser, options.output, "folders weights and tokenizer");
  parser.require("output");
  parser.number<int64_t>({"Output", "tp", "ranks to cut the weights for", "N"}, 1, options.ranks);
  parser.require("tp");
  add_runtime(parser, options.runtime.release);
  parser.value({"Output", "model-name",
                "chat template, as that release's converter is told; needed for a model of Hugging "
                "Face (default: as config.ini has it)",
                "NAME"},
               options.model_name);
  add_force(parser, options.force, "an earlier output");
  add_quiet(parser, options.quiet);
  parser.parse(arguments);
  check_limit(parser, "tp", options.ranks, kMostRanks);
  return options;
}

}  // namespace kvcalib
