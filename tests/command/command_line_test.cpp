// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/command_line.h"

#include <gtest/gtest.h>

#include <sstream>

#include "calibrate/command/commands.h"
#include "tests/message_of.h"

namespace kvcalib {
namespace {

using Arguments = std::vector<std::string>;

CalibrateOptions calibrate_options(const Arguments& arguments) {
  return parse_calibrate({"calibrate", "Calibrate.", "--weights DIR"}, arguments);
}

TEST(CommandLine, ReadsEveryOptionOfCalibrate) {
  const CalibrateOptions options = calibrate_options({"--weights",
                                                      "w",
                                                      "--data",
                                                      "a,1.npy",
                                                      "b.jsonl",
                                                      "--output",
                                                      "o",
                                                      "--tokenizer",
                                                      "t",
                                                      "--samples",
                                                      "3",
                                                      "--length=64",
                                                      "--seed",
                                                      "18446744073709551615",
                                                      "--pack",
                                                      "--runtime",
                                                      "0.0.14",
                                                      "--serving-tp",
                                                      "8",
                                                      "--symmetric",
                                                      "--devices",
                                                      "cpu:2",
                                                      "--micro-batch",
                                                      "4096",
                                                      "--force",
                                                      "--dry-run",
                                                      "--quiet",
                                                      "--json"});
  EXPECT_EQ(options.weights, "w");
  EXPECT_EQ(options.data, (Arguments{"a,1.npy", "b.jsonl"}));
  EXPECT_EQ(options.output.output, "o");
  EXPECT_EQ(options.tokenizer, "t");
  EXPECT_EQ(options.samples, 3);
  EXPECT_EQ(options.length, 64);
  EXPECT_EQ(options.seed, 18446744073709551615U);
  EXPECT_TRUE(options.pack);
  EXPECT_EQ(options.scales.runtime.release, "0.0.14");
  EXPECT_EQ(options.scales.serving_ranks, 8);
  EXPECT_EQ(options.scales.method, ScaleMethod::kSymmetric);
  EXPECT_EQ(options.devices, "cpu:2");
  EXPECT_EQ(options.micro_batch_tokens, 4096);
  EXPECT_TRUE(options.output.force && options.dry_run && options.quiet && options.json);
}

TEST(CommandLine, HasTheDefaultsThatTheHelpStates) {
  const CalibrateOptions options =
      calibrate_options({"--weights", "w", "--data", "d", "--in-place"});
  EXPECT_FALSE(options.samples || options.length);  // as the data have it
  EXPECT_EQ(options.seed, 0U);
  EXPECT_EQ(options.scales.runtime.release, "0.3.0");
  EXPECT_FALSE(options.scales.serving_ranks);
  EXPECT_EQ(options.scales.method, ScaleMethod::kAsymmetric);
  EXPECT_FALSE(options.output.force || options.pack);
}

TEST(CommandLine, NamesThoseThatFilesAreFor) {
  const Arguments base = {"--weights", "w", "--data", "d", "--output", "o"};
  const auto with = [&](const Arguments& more) {
    Arguments arguments = base;
    arguments.insert(arguments.end(), more.begin(), more.end());
    return calibrate_options(arguments).scales.readers;
  };
  const auto refusal = [&](const Arguments& more) { return message_of([&] { with(more); }); };
  EXPECT_EQ(with({}), (Arguments{"turbomind"}));
  EXPECT_EQ(with({"--for", "vllm,turbomind", "--runtime", "0.0.14", "--symmetric"}),
            (Arguments{"vllm", "turbomind"}));
  EXPECT_EQ(with({"--for", "tensorrt-llm", "--serving-tp", "2"}), (Arguments{"tensorrt-llm"}));
  EXPECT_HOLDS("did you mean vllm?", refusal({"--for", "vlm"}));
  EXPECT_HOLDS("twice", refusal({"--for", "vllm,vllm"}));
  EXPECT_HOLDS("nobody", refusal({"--for", ""}));
  EXPECT_HOLDS("--runtime is of turbomind", refusal({"--for", "vllm", "--runtime", "0.3.0"}));
  EXPECT_HOLDS("--method is of turbomind", refusal({"--for", "vllm", "--method", "symmetric"}));
  EXPECT_HOLDS("--serving-tp changes nothing", refusal({"--for", "vllm", "--serving-tp", "2"}));
  EXPECT_HOLDS("--in-place is of turbomind alone", message_of([] {
                 calibrate_options(
                     {"--weights", "w", "--data", "d", "--in-place", "--for", "turbomind,vllm"});
               }));
}

TEST(CommandLine, NamesTheNearestOptionForAnUnknownOne) {
  EXPECT_HOLDS("did you mean --samples?", message_of([] {
                 calibrate_options({"--sampels", "3"});
               }));
  EXPECT_HOLDS("unknown option --zzzzzzzzz;",
               message_of([] { calibrate_options({"--zzzzzzzzz"}); }));
}

TEST(CommandLine, RefusesWhatIsMissingMalformedOrContradictory) {
  const struct {
    Arguments arguments;
    const char* expected;
  } cases[] = {
      {{"--data", "d", "--in-place"}, "--weights DIR is missing"},
      {{"--weights", "w", "--in-place"}, "--data FILE... is missing"},
      {{"--weights", "w", "--data", "d"}, "--output DIR or --in-place"},
      {{"--weights", "w", "--data", "d", "--in-place", "--output", "o"}, "exclude each other"},
      {{"--weights", "w", "--data", "d", "--in-place", "--samples", "0"}, "--samples '0'"},
      {{"--weights", "w", "--data", "d", "--in-place", "--length", "12x"}, "--length '12x'"},
      {{"--weights", "w", "--data", "d", "--in-place", "--seed", "-1"}, "--seed '-1'"},
      {{"--weights", "w", "--dry-run", "--micro-batch", "4294967297"}, "at most 4294967296"},
      {{"--weights", "w", "--dry-run", "--serving-tp", "65537"}, "--serving-tp '65537'"},
      {{"--weights"}, "weights"},
  };
  for (const auto& wrong : cases) {
    EXPECT_THROW(calibrate_options(wrong.arguments), UsageError);
    EXPECT_HOLDS(wrong.expected, message_of([&] { calibrate_options(wrong.arguments); }));
  }
}

TEST(CommandLine, DryRunNeedsNeitherDataNorOutput) {
  EXPECT_TRUE(calibrate_options({"--weights", "w", "--dry-run"}).dry_run);
}

EvaluateOptions evaluate_options(Arguments arguments) {
  arguments.insert(arguments.begin(), {"--weights", "w"});
  return parse_evaluate({"evaluate", "Evaluate.", "--weights DIR"}, arguments);
}

TEST(CommandLine, ReadsEveryOptionOfEvaluate) {
  const EvaluateOptions options = evaluate_options({"--scales",
                                                    "a",
                                                    "--scales",
                                                    "b",
                                                    "--stats",
                                                    "s",
                                                    "--data",
                                                    "d",
                                                    "--tasks",
                                                    "t,1",
                                                    "--tasks",
                                                    "u",
                                                    "--copy",
                                                    "--tokenizer",
                                                    "model",
                                                    "--length",
                                                    "64",
                                                    "--limit",
                                                    "9",
                                                    "--seed",
                                                    "5",
                                                    "--method",
                                                    "symmetric",
                                                    "--formats",
                                                    "fp8,per-token",
                                                    "--max-kl",
                                                    "0.25",
                                                    "--max-loss",
                                                    "RTE=1.5",
                                                    "--output",
                                                    "o",
                                                    "--force",
                                                    "--resume",
                                                    "--runtime",
                                                    "0.3.0",
                                                    "--serving-tp",
                                                    "2",
                                                    "--devices",
                                                    "cpu:2",
                                                    "--micro-batch",
                                                    "512",
                                                    "--group",
                                                    "9000",
                                                    "--trace",
                                                    "trace.json",
                                                    "--quiet",
                                                    "--json"});
  EXPECT_EQ(options.weights, "w");
  EXPECT_EQ(options.scales, (Arguments{"a", "b"}));
  EXPECT_EQ(options.statistics, (Arguments{"s"}));
  EXPECT_EQ(options.data, (Arguments{"d"}));
  EXPECT_EQ(options.tasks, (Arguments{"t,1", "u"}));
  EXPECT_EQ(options.tokenizer, "model");
  EXPECT_EQ(options.length, 64);
  EXPECT_EQ(options.limit, 9);
  EXPECT_EQ(options.seed, 5U);
  EXPECT_EQ(options.methods, std::vector<ScaleMethod>{ScaleMethod::kSymmetric});
  EXPECT_EQ(options.formats, (Arguments{"fp8", "per-token"}));
  EXPECT_EQ(options.gates.most_divergence, 0.25);
  ASSERT_EQ(options.gates.most_loss.size(), 1U);
  EXPECT_EQ(options.output, "o");
  EXPECT_EQ(options.runtime.release, "0.3.0");
  EXPECT_EQ(options.serving_ranks, 2);
  EXPECT_EQ(options.devices, "cpu:2");
  EXPECT_EQ(options.micro_batch_tokens, 512);
  EXPECT_EQ(options.group_tokens, 9000);
  EXPECT_EQ(options.trace, "trace.json");
  EXPECT_TRUE(options.copy && options.force && options.resume && options.quiet && options.json);
}

TEST(CommandLine, HasTheDefaultsOfEvaluateThatTheHelpStates) {
  const EvaluateOptions options = evaluate_options({"--copy"});
  EXPECT_EQ(options.length, 2048);
  EXPECT_EQ(options.seed, 0U);
  EXPECT_TRUE(options.methods.empty());
  EXPECT_EQ(options.group_tokens, 0);
  EXPECT_FALSE(options.limit || options.output || options.gates.most_divergence);
  EXPECT_TRUE(options.scales.empty() && options.gates.most_loss.empty());
}

TEST(CommandLine, ReadsEveryOptionOfMemory) {
  const EvaluateOptions options =
      evaluate_options({"--memory", "--batch", "16,32", "--session", "4096", "--prompt", "100",
                        "--runtime", "0.0.14", "--serving-tp", "8", "--devices", "1", "--json"});
  EXPECT_TRUE(options.memory && options.json);
  EXPECT_EQ(options.service.weights, "w");
  EXPECT_EQ(options.service.sessions, (std::vector<int64_t>{16, 32}));
  EXPECT_EQ(options.service.session_tokens, 4096);
  EXPECT_EQ(options.service.prompt_tokens, 100);
  EXPECT_EQ(options.service.runtime.release, "0.0.14");
  EXPECT_EQ(options.service.ranks, 8);
  EXPECT_EQ(options.devices, "1");
}

TEST(CommandLine, RefusesMemoryBesideWhatIsScoredAndItsOptionsWithoutIt) {
  struct Case {
    Arguments arguments;
    const char* expected;
  };
  for (const Case& wrong : {Case{{"--memory", "--copy"}, "--copy has no part in --memory"},
                            Case{{"--memory", "--data", "d"}, "--data has no part in --memory"},
                            Case{{"--memory", "--output", "o"}, "--output has no part"},
                            Case{{"--memory", "--length=9"}, "--length has no part"},
                            Case{{"--copy", "--batch", "16"}, "--batch is of --memory"},
                            Case{{"--copy", "--session", "16"}, "--session is of --memory"},
                            Case{{"--memory", "--batch", "0"}, "at least 1"},
                            Case{{"--memory", "--session", "999999999"}, "at most"}}) {
    EXPECT_THROW(evaluate_options(wrong.arguments), UsageError);
    EXPECT_HOLDS(wrong.expected, message_of([&] { evaluate_options(wrong.arguments); }));
  }
}

// As a shell leaves them of "--data *.txt".
TEST(CommandLine, TakesFilesWithoutAnOptionsNameForTheOneOfTwoThatIsGiven) {
  EXPECT_EQ(evaluate_options({"--data", "a", "b", "--copy", "c"}).data, (Arguments{"a", "b", "c"}));
  EXPECT_EQ(evaluate_options({"--tasks", "a", "b"}).tasks, (Arguments{"a", "b"}));
  for (const Arguments& unclear : {Arguments{"--data", "a", "--tasks", "b", "--copy", "c"},
                                   Arguments{"--copy", "c"}, Arguments{"c"}})
    EXPECT_HOLDS("'c': is it of --data or of --tasks?",
                 message_of([&] { evaluate_options(unclear); }));
}

TEST(CommandLine, ReadsTheLossesThatTasksMayHave) {
  const EvaluateOptions options = evaluate_options(
      {"--tasks", "t", "--max-loss", "RTE=0", "--max-loss", "a=b=2.5", "--max-loss=C3, dev=1e1"});
  ASSERT_EQ(options.gates.most_loss.size(), 3U);
  EXPECT_EQ(options.gates.most_loss[0].task, "RTE");
  EXPECT_EQ(options.gates.most_loss[0].points, 0);
  EXPECT_EQ(options.gates.most_loss[1].task, "a=b");
  EXPECT_EQ(options.gates.most_loss[1].points, 2.5);
  EXPECT_EQ(options.gates.most_loss[2].task, "C3, dev");
  EXPECT_EQ(options.gates.most_loss[2].points, 10);
}

TEST(CommandLine, RefusesWhatIsMissingMalformedOrContradictoryInEvaluate) {
  const struct {
    Arguments arguments;
    const char* expected;
  } cases[] = {
      {{}, "what is to be scored?"},
      {{"--scales", "s", "--formats", "fp8"}, "what is to be scored?"},
      {{"--copy", "--resume"}, "--resume goes on with an --output DIR"},
      {{"--copy", "--max-kl", "nan"}, "--max-kl 'nan': expected a number of at least 0"},
      {{"--copy", "--max-kl", "inf"}, "--max-kl 'inf'"},
      {{"--copy", "--max-kl", "-1"}, "--max-kl '-1'"},
      {{"--copy", "--max-kl", "0.1x"}, "--max-kl '0.1x'"},
      {{"--copy", "--max-kl="}, "--max-kl ''"},
      {{"--copy", "--max-loss", "RTE"}, "--max-loss 'RTE': expected TASK=POINTS"},
      {{"--copy", "--max-loss", "=1"}, "--max-loss '=1': expected TASK=POINTS"},
      {{"--copy", "--max-loss", "RTE="}, "--max-loss 'RTE=': expected TASK=POINTS"},
      {{"--copy", "--max-loss", "RTE=-1"}, "--max-loss '-1'"},
      {{"--copy", "--max-loss", "RTE=nan"}, "--max-loss 'nan'"},
      {{"--copy", "--max-loss", "RTE=1"}, "--max-loss judges tasks: give --tasks FILE"},
      {{"--copy", "--scales", ""}, "--scales '': expected a directory"},
      {{"--copy", "--stats", "s", "--method", "best"}, "--method best: "},
      {{"--copy", "--stats", "s", "--method", "symmetric", "--method", "symmetric"},
       "--method symmetric: is given twice"},
      {{"--copy", "--method", "symmetric"}, "--method is for scales that are made here"},
      {{"--copy", "--serving-tp", "2"}, "--serving-tp is for scales that are made here"},
      {{"--copy", "--length", "1"}, "--length '1'"},
      {{"--copy", "--length", "4294967297"}, "at most 4294967296"},
      {{"--copy", "--limit", "0"}, "--limit '0'"},
      {{"--copy", "--group", "0"}, "--group '0'"},
      {{"--copy", "--group", "4294967297"}, "at most 4294967296"},
      {{"--copy", "--serving-tp", "0"}, "--serving-tp '0'"},
      {{"--copy", "--dat", "x"}, "did you mean --data?"},
  };
  for (const auto& wrong : cases) {
    EXPECT_THROW(evaluate_options(wrong.arguments), UsageError) << wrong.expected;
    EXPECT_HOLDS(wrong.expected, message_of([&] { evaluate_options(wrong.arguments); }));
  }
}

TEST(CommandLine, HelpFitsEightyColumnsAndNamesTheCommandAndEveryOption) {
  for (const Command& command : commands()) {
    const std::string name(command.heading.name);
    try {
      run_command(command, {name, "--help"});
      FAIL() << name << " --help did not ask for help";
    } catch (const HelpAsked& help) {
      std::istringstream lines(help.text);
      for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80U) << line;
      EXPECT_HOLDS("kvcalib " + name, help.text);
      EXPECT_HOLDS("--help", help.text);
    }
  }
}

}  // namespace
}  // namespace kvcalib
