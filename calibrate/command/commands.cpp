// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/commands.h"

#include <algorithm>
#include <array>
#include <iomanip>
#include <sstream>

#include "calibrate/command/nearest.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr std::array kCommands = {
    Command{{"calibrate", "Run text through the model and write its int8 KV cache scales.",
             "--weights DIR --data FILE... (--output DIR | --in-place)"},
            "run text through the model and write its scales and config patch"},
    Command{{"evaluate",
             "Tell what int8 costs: text, tasks or random tokens scored with K and V in 16\n"
             "bits and through scales, in one reading of the weights.  Or what it saves: the\n"
             "memory of a rank in service, held on a GPU.\n",
             "--weights DIR (--data ... | --tasks ... | --copy | --memory)"},
            "what does int8 cost? divergence, perplexity, tasks, layer by layer"},
    Command{{"export",
             "Make scale files again from the statistics of an earlier run, TurboMind's or\n"
             "another runtime's.\n",
             "--stats FILE --weights DIR (--output DIR | --in-place)"},
            "make scale files again from the statistics of an earlier run"},
    Command{{"equalise",
             "Write weights of the same function whose cache is even: a factor for every\n"
             "rotary pair of K and every channel of V makes their ranges equal, and the\n"
             "weights that read them undo it.\n",
             "--weights DIR --stats FILE (--output DIR | --in-place)"},
            "fold factors into the weights that make the cache's ranges equal"},
    Command{{"verify", "Would the runtime load a directory's scales as they are meant?", "DIR"},
            "would the runtime load these scales as they are meant?"},
    Command{{"inspect", "Show ranges and scales, and the layers that stand out.", "PATH"},
            "show ranges and scales, and the layers that stand out"},
    Command{{"plan", "Tell the memory that a model takes in service, with 16-bit and with int8 KV.",
             "--weights PATH --devices N"},
            "how much memory, how many sessions, with 16-bit and with int8 KV?"},
    Command{{"shard",
             "Write the weights directory that LMDeploy's converter would write, from a\n"
             "model of Hugging Face or from such a directory cut for other ranks. DIR gets\n"
             "the folders weights and tokenizer, as a workspace's triton_models has them.\n",
             "--weights DIR --output DIR --tp N"},
            "cut a model for N ranks: the weights directory that will be served"},
};

}  // namespace

std::span<const Command> commands() { return kCommands; }

const Command& find_command(const std::string& name) {
  std::vector<std::string> names;
  for (const Command& command : kCommands) {
    if (command.heading.name == name) return command;
    names.emplace_back(command.heading.name);
  }
  throw UsageError(
      concat("unknown command '", name, "'", suggestion(name, names), "; see kvcalib --help"));
}

std::string program_help() {
  size_t width = 0;
  for (const Command& command : kCommands) width = std::max(width, command.heading.name.size());
  std::ostringstream text;
  const auto name = [&](const Command& command) -> std::ostream& {
    return text << std::left << std::setw(static_cast<int>(width)) << command.heading.name;
  };
  text << "kvcalib: int8 KV cache scales for TurboMind, from a sharded weights directory\n\n"
       << "Usage:\n";
  for (const Command& command : kCommands) {
    text << "  kvcalib ";
    name(command) << " " << command.heading.usage << "\n";
  }
  text << "\n";
  for (const Command& command : kCommands) {
    text << "  ";
    name(command) << "   " << command.summary << "\n";
  }
  text << "\n  kvcalib COMMAND --help tells the options of each; kvcalib --version.\n"
       << "Exit codes: 0 done, 1 failed, 2 wrong usage.\n";
  return text.str();
}

}  // namespace kvcalib
