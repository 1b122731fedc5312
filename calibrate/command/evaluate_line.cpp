// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "calibrate/command/command_line.h"
#include "calibrate/command/parallelism_options.h"
#include "calibrate/command/service_options.h"
#include "calibrate/command/shared_options.h"
#include "calibrate/data/window_request.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr int64_t kShortest = 2;  // tokens of a text: one that predicts and one that is predicted

void add_input(Parser& parser, EvaluateOptions& options, std::vector<std::string>& files) {
  add_weights(parser, options.weights, kWeightsHelp);
  parser.values(
      {"Input", "scales",
       "directory with scale files, one stream each (default: the weights directory)", "DIR"},
      options.scales);
  parser.values(
      {"Input", "stats", "kv_stats.safetensors to make scales of, one stream each", "FILE"},
      options.statistics);
  parser.values(
      {"Input", "data", "held-out text (.json.gz, .jsonl, .txt; globs) or ids (.npy)", "FILE..."},
      options.data);
  parser.values(
      {"Input", "tasks",
       "task files (.jsonl; globs), or a report of many, see configs/tasks/README.md", "FILE..."},
      options.tasks);
  parser.value(
      {"Input", "data-root",
       "where the task files of a report are; configs/tasks/report.json needs them", "DIR"},
      options.data_root);
  parser.flag("Input", "copy", "random tokens to be copied and recalled; needs no data",
              options.copy);
  parser.values({"Input", "files", "more files of --data or --tasks, whichever is given", ""},
                files);
  parser.positional("files");
  parser.value({"Input", "tokenizer", "SentencePiece model (default: beside the weights)", "FILE"},
               options.tokenizer);
}

void add_evaluation(Parser& parser, EvaluateOptions& options, std::vector<std::string>& methods,
                    std::vector<std::string>& losses) {
  parser.number<int64_t>(
      {"Evaluation", "length",
       concat("tokens of a window; longer texts of tasks are cut on the left (default ",
              options.length, ")"),
       "N"},
      kShortest, options.length);
  parser.number<int64_t>(
      {"Evaluation", "limit",
       "windows of the data, items of each task, random texts of each kind (default: all)", "N"},
      1, options.limit);
  parser.number<uint64_t>(
      {"Evaluation", "seed", concat("of random tokens (default ", options.seed, ")"), "N"}, 0,
      options.seed);
  parser.values(
      {"Evaluation", "method",
       concat("of scales from --stats, or several, of ", method_names(), " (default: asymmetric)"),
       "NAME"},
      methods);
  parser.list(
      {"Evaluation", "formats",
       "other formats beside: per-head, per-channel, fp8 (need --stats), per-token", "NAME,..."},
      options.formats);
  parser.decimal(
      {"Evaluation", "max-kl", "exit code 1 when a stream's mean KL is above it, in nats", "X"},
      options.gates.most_divergence);
  parser.values({"Evaluation", "max-loss", "exit code 1 when a stream loses more points in a task",
                 "TASK=POINTS"},
                losses);
}

void add_results(Parser& parser, EvaluateOptions& options) {
  add_output(parser, options.output, "report");
  add_force(parser, options.force, "an earlier report");
  parser.flag("Output", "resume",
              "go on behind the groups and answers that a killed run finished; without it they are "
              "dropped",
              options.resume);
  add_runtime(parser, options.runtime.release);
  parser.number<int64_t>(
      {"Output", "serving-tp",
       "ranks that will serve, with scales from --stats or for --memory (default: the "
       "ranks the weights are cut for)",
       "N"},
      1, options.serving_ranks);
  add_session_length(parser, options.session_length);
}

void add_memory(Parser& parser, EvaluateOptions& options) {
  parser.flag(
      "Memory", "memory",
      "instead of scoring: hold on a GPU what a rank in service would, beside what plan says",
      options.memory);
  add_loads(parser, "Memory", options.service);
}

// What is measured needs no text, and no weights but their shape.
void take_service(const Parser& parser, EvaluateOptions& options) {
  parser.refuse_beside("memory", {"weights", "batch", "session", "prompt", "runtime", "serving-tp",
                                  "devices", "quiet", "json"});
  check_loads(parser, options.service);
  check_serving(parser, options.serving_ranks);
  check_session_length(parser, options.session_length);
  options.service.weights = options.weights;
  options.service.runtime = options.runtime;
  options.service.ranks = options.serving_ranks;
}

void check_evaluation(const Parser& parser, const EvaluateOptions& options) {
  if (options.data.empty() && options.tasks.empty() && !options.copy)
    parser.fail("what is to be scored? give --data FILE..., --tasks FILE..., --copy or --memory");
  for (const char* name : {"batch", "session", "prompt"})
    if (parser.given(name)) parser.fail(concat("--", name, " is of --memory: give that too"));
  if (options.gates.most_divergence && options.data.empty() && !options.copy)
    parser.fail("--max-kl judges text or copying: give --data FILE... or --copy");
  if (!options.gates.most_loss.empty() && options.tasks.empty())
    parser.fail("--max-loss judges tasks: give --tasks FILE...");
  if (options.data_root && options.tasks.empty())
    parser.fail("--data-root is where the task files of a report are: give --tasks REPORT");
  if (options.data_root && options.data_root->empty())
    parser.fail("--data-root '': expected a directory");
  if (std::find(options.scales.begin(), options.scales.end(), "") != options.scales.end())
    parser.fail("--scales '': expected a directory");
  if (options.resume && !options.output)
    parser.fail("--resume goes on with an --output DIR: give that");
  check_limit(parser, "length", options.length, kMostTokens);
  check_limit(parser, "group", options.group_tokens, kMostTokens);
  check_micro_batch(parser, options.micro_batch_tokens);
  check_serving(parser, options.serving_ranks);
  check_session_length(parser, options.session_length);
}

// TASK=POINTS; the task's name may hold the sign too.
void take_losses(const Parser& parser, EvaluateOptions& options,
                 const std::vector<std::string>& losses) {
  for (const std::string& loss : losses) {
    const size_t sign = loss.rfind('=');
    if (sign == std::string::npos || sign == 0 || sign + 1 == loss.size())
      parser.fail(concat("--max-loss '", loss, "': expected TASK=POINTS"));
    options.gates.most_loss.push_back(Gates::Loss{
        loss.substr(0, sign), parser.read_decimal("--max-loss", loss.substr(sign + 1))});
  }
}

// What stands without an option's name belongs to the one of two that is given.
void take_files(const Parser& parser, EvaluateOptions& options,
                const std::vector<std::string>& files) {
  if (files.empty()) return;
  if (options.data.empty() == options.tasks.empty())
    parser.fail(
        concat("'", files.front(), "': is it of --data or of --tasks? put it behind one of them"));
  std::vector<std::string>& taken = options.data.empty() ? options.tasks : options.data;
  taken.insert(taken.end(), files.begin(), files.end());
}

void take_methods(const Parser& parser, EvaluateOptions& options,
                  const std::vector<std::string>& methods) {
  std::vector<ScaleMethod>& taken = options.methods;
  for (const std::string& given : methods) {
    const ScaleMethod method = read_method(parser, given);
    if (std::find(taken.begin(), taken.end(), method) != taken.end())
      parser.fail(concat("--method ", given, ": is given twice"));
    taken.push_back(method);
  }
}

}  // namespace

EvaluateOptions parse_evaluate(const Heading& heading, const std::vector<std::string>& arguments) {
  EvaluateOptions options;
  std::vector<std::string> files, methods, losses;
  Parser parser(heading);
  add_input(parser, options, files);
  add_evaluation(parser, options, methods, losses);
  add_results(parser, options);
  add_parallelism(parser, options.devices, options.micro_batch_tokens);
  parser.number<int64_t>(
      {"Parallelism", "group", "tokens for each reading of the weights (default: as many as fit)",
       "TOKENS"},
      1, options.group_tokens);
  add_memory(parser, options);
  add_trace(parser, options.trace);
  add_quiet(parser, options.quiet);
  add_json(parser, options.json);
  parser.parse(arguments);
  if (options.memory) {
    take_service(parser, options);
    return options;
  }
  take_files(parser, options, files);
  take_losses(parser, options, losses);
  check_evaluation(parser, options);
  if (options.statistics.empty() &&
      (!methods.empty() || options.serving_ranks || options.session_length))
    parser.fail(concat(!methods.empty()        ? "--method"
                       : options.serving_ranks ? "--serving-tp"
                                               : "--session-len",
                       " is for scales that are made here: give --stats FILE"));
  take_methods(parser, options, methods);
  return options;
}

}  // namespace kvcalib
