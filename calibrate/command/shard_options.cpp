// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/command_line.h"
#include "calibrate/command/parser.h"

namespace kvcalib {

ShardOptions parse_shard(const std::vector<std::string>& arguments) {
  Parser parser("shard",
                "Write the weights directory that LMDeploy's converter would write, from a\n"
                "model of Hugging Face or from such a directory cut for other ranks. DIR gets\n"
                "the folders weights and tokenizer, as a workspace's triton_models has them.\n",
                "--weights DIR --output DIR --tp N");
  parser.value("Input", "weights",
               "Hugging Face model (config.json, safetensors), or TurboMind weights directory",
               "DIR");
  parser.value("Output", "output", "new directory for the folders weights and tokenizer", "DIR");
  parser.value("Output", "tp", "ranks to cut the weights for", "N");
  parser.value("Output", "runtime", "TurboMind release that will read them (default 0.3.0)",
               "VERSION");
  parser.value("Output", "model-name",
               "chat template, as that release's converter is told; needed for a model of Hugging "
               "Face (default: as config.ini has it)",
               "NAME");
  parser.flag("Output", "force", "replace an earlier output");
  parser.flag("Other", "quiet", "no progress on stderr");
  parser.parse(arguments);

  ShardOptions options;
  options.weights = parser.required("weights", "--weights DIR");
  options.output = parser.required("output", "--output DIR");
  parser.required("tp", "--tp N");
  parser.number<int64_t>("tp", 1, options.ranks);
  if (parser.has("runtime")) options.runtime = parser.text("runtime");
  if (parser.has("model-name")) options.model_name = parser.text("model-name");
  options.force = parser.is_set("force");
  options.quiet = parser.is_set("quiet");
  return options;
}

}  // namespace kvcalib
