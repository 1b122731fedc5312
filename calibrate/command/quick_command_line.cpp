// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/command_line.h"
#include "calibrate/command/shared_options.h"

namespace kvcalib {

ExportOptions parse_export(const Heading& heading, const std::vector<std::string>& arguments) {
  ExportOptions options;
  Parser parser(heading);
  parser.value({"Input", "stats", "kv_stats.safetensors of a calibration", "FILE"},
               options.statistics);
  parser.require("stats");
  add_weights(parser, options.weights, kWeightsHelp);
  GivenMethod method;
  add_delivery(parser, options.output, options.scales, method);
  parser.parse(arguments);
  take_method(parser, method, options.scales);
  check_readers(parser, options.scales.readers);
  check_place(parser, options.output, true);
  check_serving(parser, options.scales.serving_ranks);
  check_session_length(parser, options.scales.session_length);
  return options;
}

EqualiseOptions parse_equalise(const Heading& heading, const std::vector<std::string>& arguments) {
  EqualiseOptions options;
  Parser parser(heading);
  add_weights(parser, options.weights, kWeightsHelp);
  parser.value({"Input", "stats", "kv_stats.safetensors of a calibration of these weights", "FILE"},
               options.statistics);
  parser.require("stats");
  add_output(parser, options.output.output, "weights and their statistics");
  parser.flag("Output", "in-place",
              "exchange the weights directory, all at once; the old one is kept as DIR.backup",
              options.output.in_place);
  parser.flag("Output", "exact",
              "powers of two that keep every bit of the weights; what would lose one is left alone",
              options.exact);
  add_session_length(parser, options.session_length);
  add_force(parser, options.output.force, "an earlier output; in place: drop existing scale files");
  add_quiet(parser, options.quiet);
  parser.parse(arguments);
  check_place(parser, options.output, true);
  check_session_length(parser, options.session_length);
  return options;
}

VerifyOptions parse_verify(const Heading& heading, const std::vector<std::string>& arguments) {
  VerifyOptions options;
  Parser parser(heading);
  parser.value({"Input", "directory", "weights directory, or the output of calibrate", "DIR"},
               options.directory);
  parser.positional("directory");
  parser.require("directory", "the directory to verify");
  add_readers(parser, options.readers);
  add_serving(parser, options.runtime.release, options.serving_ranks);
  add_json(parser, options.json);
  parser.parse(arguments);
  check_readers(parser, options.readers);
  check_serving(parser, options.serving_ranks);
  return options;
}

InspectOptions parse_inspect(const Heading& heading, const std::vector<std::string>& arguments) {
  InspectOptions options;
  Parser parser(heading);
  parser.value({"Input", "path", "kv_stats.safetensors, or a directory with scale files", "PATH"},
               options.path);
  parser.positional("path");
  parser.require("path", "the file or directory to inspect");
  add_json(parser, options.json);
  parser.parse(arguments);
  return options;
}

}  // namespace kvcalib
