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
      {{"--weights", "w", "--dry-run", "--micro-batch", "4294967297"}, "--micro-batch 4294967297"},
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

TEST(CommandLine, HelpFitsEightyColumnsAndNamesTheCommandAndEveryOption) {
  for (const Command& command : commands()) {
    const std::string name(command.heading.name);
    try {
      command.run(command, {name, "--help"});
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
