// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/evaluation_report.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>

#include "calibrate/report/table.h"
#include "sharding/files/error.h"
#include "tests/report/evaluation_fixture.h"

namespace kvcalib {
namespace {

void expect_part(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
}

void expect_no_part(const std::string& text, const std::string& part) {
  EXPECT_EQ(text.find(part), std::string::npos) << part << "\n" << text;
}

void expect_narrow(const std::string& text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(width_of(line), 120U) << line;
}

// The cells of the row that begins with `first`, blanks squeezed.
std::string row(const std::string& text, const std::string& first) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.compare(0, first.size(), first) != 0) continue;
    std::istringstream words(line);
    std::string squeezed;
    for (std::string word; words >> word;) squeezed += (squeezed.empty() ? "" : " ") + word;
    return squeezed;
  }
  return "no row begins with " + first;
}

TEST(EvaluationReport, TellsEveryPart) {
  const std::string text = format_evaluation(whole_evaluation());
  expect_narrow(text);
  expect_no_part(text, "nan");
  expect_part(text, "control: a stream that changes nothing gives zeros everywhere, to the bit");
  EXPECT_EQ(row(text, "Mean    KLD"), "Mean KLD 0.03125 ± 0");
  EXPECT_EQ(row(text, "Mean ln(PPL(Q)/PPL(base))"), "Mean ln(PPL(Q)/PPL(base)) 0.25 ± 0.024");
  EXPECT_EQ(row(text, "Same top p"), "Same top p, % 93.75 ± 0");
  EXPECT_EQ(row(text, "16 .. 31"),
            "16 .. 31 int8 128 0.03125 ± 0 0.03125 0.25 ± 0.024 -2.489 ± 0.21 2.574 93.75 ± 0");
  expect_part(text, "this model cannot copy over 64 tokens");
  expect_no_part(text, "cannot copy over 16 tokens");
  EXPECT_EQ(row(text, "RTE"),
            "RTE SuperGLUE accuracy 372 50.00 86.02 81.18 -4.84 ± 1.24 20 2 0 0.00012 0.00024");
  expect_part(text, "int8: 2 rows, 472 items: 25 lost, 7 gained");
  expect_part(text, "MultiRC: 1 of 100 items were too long for the model and cut on the left");
  expect_part(text, "stands out: layer 4 rank 0: K: only 64 of the 256 codes are used");
  expect_part(text, "\nnote: a note\n");
  expect_part(text, "\nverdict: int8: the loss is more than noise");
}

TEST(EvaluationReport, TellsTheRowsOfAReportThatAreMissingInTheirPlaces) {
  const std::string text = format_evaluation(partly_reported());
  expect_narrow(text);
  EXPECT_EQ(row(text, "BoolQ"), "BoolQ SuperGLUE BoolQ.jsonl is missing");
  size_t place = 0;
  for (const char* task : {"own ", "BoolQ ", "RTE ", "CB ", "MultiRC ", "COPA "}) {
    const size_t found = text.find(concat("\n", task), place);
    ASSERT_NE(found, std::string::npos) << task << text;
    place = found + 1;
  }
  expect_part(text, "report.json, int8: mean difference of 2 of 5 rows -2.42 ± 1.71 points");
  expect_part(text, "missing: their task files are not below --data-root");
  expect_part(evaluation_markdown(partly_reported()),
              "| CB | SuperGLUE | CB.jsonl is missing |  |  |  |  |  |  |  |  |  |  |\n");
}

TEST(EvaluationReport, TellsTheMissingRowsOnceWhateverTheStreams) {
  Evaluation evaluation = partly_reported();
  evaluation.measured.streams.push_back({"int4", "coarse", false});
  for (TaskScore& task : evaluation.measured.tasks) task.streams.push_back(task.streams.back());
  const std::string text = format_evaluation(evaluation);
  const size_t missing = text.find("\nCB "), before = text.find("\nRTE ");
  EXPECT_LT(before, missing);
  const std::string between = text.substr(before + 1, missing - before);
  EXPECT_EQ(std::count(between.begin(), between.end(), '\n'), 2) << between;
  EXPECT_EQ(text.find("CB.jsonl"), text.rfind("CB.jsonl"));
  expect_part(text, "report.json, int4: mean difference of 2 of 5 rows");
}

TEST(EvaluationReport, TellsTheMeanOfAWholeReport) {
  Evaluation evaluation = partly_reported();
  std::erase_if(evaluation.measured.report->rows,
                [](const ReportedRow& row) { return row.is_missing; });
  const std::string text = format_evaluation(evaluation);
  expect_part(text, "report.json, int8: mean difference of 2 rows ");
  expect_no_part(text, "missing");
}

Evaluation evaluation_of_answers() {
  const GeneratedAnswer right = generated("The long and winding answer is four", true),
                        wrong = generated("The long and winding answer is fi\nve | x", false);
  Evaluation evaluation;
  evaluation.measured.streams = two_streams();
  evaluation.measured.tasks = score_tasks(std::vector{
      generated_task("gsm8k", {{right, wrong}, {right, right}}), scored_task("RTE", 30, 10, 0, 0)});
  return evaluation;
}

TEST(EvaluationReport, TellsHowAnswersAgree) {
  const std::string text = format_evaluation(evaluation_of_answers());
  expect_narrow(text);
  expect_no_part(text, "nan");
  EXPECT_EQ(row(text, "gsm8k  own"),
            "gsm8k own accuracy 2 - 100.00 50.00 -50.00 ± 50.00 1 0 0 1 1");
  expect_no_part(text, "gsm8k      -");  // which has no margin
  expect_part(text, "\nAnswers\n");
  EXPECT_EQ(row(text, "gsm8k    50.00"), "gsm8k 50.00 64");
  EXPECT_EQ(row(text, "gsm8k  item-0"),
            "gsm8k item-0 lost …ng answer is four …ng answer is fi\\nve | x 64");
  EXPECT_EQ(text.find("RTE", text.find("\nAnswers\n")), std::string::npos);
}

TEST(EvaluationReport, TellsHowAnswersOfSeveralStreamsAgree) {
  const GeneratedAnswer right = generated("four", true), wrong = generated("five", false);
  Evaluation evaluation;
  evaluation.measured.streams = two_streams();
  evaluation.measured.streams.push_back({"int4", "coarse", false});
  evaluation.measured.tasks =
      score_tasks(std::vector{generated_task("T", {{right, right, wrong}})});
  const std::string text = format_evaluation(evaluation);
  EXPECT_EQ(row(text, "T     int8"), "T int8 100.00 -");
  EXPECT_EQ(row(text, "      int4"), "int4 0.00 2");
  EXPECT_EQ(row(text, "T     item-0"), "T item-0 int4 lost four five 2");
}

TEST(EvaluationReport, HasNoPartOfAnswersWhereNoneIsGenerated) {
  expect_no_part(format_evaluation(whole_evaluation()), "\nAnswers\n");
}

TEST(EvaluationReport, ShowsAnswersInMarkdown) {
  const std::string text = evaluation_markdown(evaluation_of_answers());
  expect_part(text, "\n## Answers\n");
  expect_part(text, "fi\\nve \\| x");
}

TEST(EvaluationReport, HasLlamaCppsRowsInItsOrder) {
  const std::string text = format_evaluation(whole_evaluation());
  size_t place = 0;
  for (const char* name : {"Mean PPL(Q)",
                           "Mean PPL(base)",
                           "Cor(ln(PPL(Q)), ln(PPL(base)))",
                           "Mean ln(PPL(Q)/PPL(base))",
                           "Mean PPL(Q)/PPL(base)",
                           "Mean PPL(Q)-PPL(base)",
                           "Mean    KLD",
                           "Maximum KLD",
                           "99.9% KLD",
                           "99.0% KLD",
                           "95.0% KLD",
                           "90.0% KLD",
                           "Median KLD",
                           "10.0% KLD",
                           "5.0% KLD",
                           "1.0% KLD",
                           "0.1% KLD",
                           "Minimum KLD",
                           "Mean    Δp",
                           "Maximum Δp",
                           "99.9% Δp",
                           "99.0% Δp",
                           "95.0% Δp",
                           "90.0% Δp",
                           "75.0% Δp",
                           "Median Δp",
                           "25.0% Δp",
                           "10.0% Δp",
                           "5.0% Δp",
                           "1.0% Δp",
                           "0.1% Δp",
                           "Minimum Δp",
                           "RMS Δp",
                           "Same top p"}) {
    const size_t found = text.find("\n" + std::string(name));
    ASSERT_NE(found, std::string::npos) << name;
    EXPECT_GT(found, place) << name;
    place = found;
  }
}

TEST(EvaluationReport, LeavesOutWhatWasNotAsked) {
  Evaluation evaluation;
  evaluation.model = "m";
  evaluation.runtime = "r";
  evaluation.measured.streams = two_streams();
  EXPECT_EQ(format_evaluation(evaluation),
            "model    m\nruntime  r\n\n"
            "stream  what its cache holds\n"
            "fp16    as it is\n"
            "int8    int8 asymmetric, 2 ranks\n\n");
}

TEST(EvaluationReport, ShowsUnknownErrorsAsADash) {
  Evaluation evaluation;
  evaluation.measured.streams = two_streams();
  evaluation.measured.text = measured_text(0.25F, 0, 0.03125F, 1);
  evaluation.measured.tasks = score_tasks(std::vector{scored_task("RTE", 0, 0, 1, 0)});
  evaluation.verdict = verdict(evaluation.measured);
  for (const std::string& text : {format_evaluation(evaluation), evaluation_markdown(evaluation)}) {
    expect_part(text, "0.03125 ± -");
    expect_part(text, "-100.00 ± -");
    expect_no_part(text, "nan");
  }
}

TEST(EvaluationReport, SaysLoudlyThatTheControlIsNotZero) {
  Evaluation evaluation = whole_evaluation();
  evaluation.measured.is_control_zero = false;
  expect_part(format_evaluation(evaluation), "control: NOT ZERO");
}

// Streams int8 .. int8-5, all as the second.
void widen(TextMeasures& measures) {
  for (int s = 2; s < 6; ++s) {
    measures.streams.push_back(measures.streams[1]);
    measures.streams.back().divergence_excess = {0.5, 0.25};
  }
}

TEST(EvaluationReport, StaysNarrowWithManyStreams) {
  Evaluation evaluation = whole_evaluation();
  Measured& measured = evaluation.measured;
  widen(*measured.text);
  for (CopyDistance& copy : measured.copy) widen(copy.measures);
  for (std::vector<TaskScore>* tasks : {&measured.tasks, &measured.recall})
    for (TaskScore& task : *tasks) task.streams.resize(6, task.streams[1]);
  for (int s = 2; s < 6; ++s)
    measured.streams.push_back({"int8-" + std::to_string(s), "another", true});
  const std::string text = format_evaluation(evaluation);
  expect_narrow(text);
  EXPECT_EQ(row(text, "Mean KLD - int8's"), "Mean KLD - int8's 0.5 ± 0.25 0.5 ± 0.25 0.5 ± 0.25");
  EXPECT_EQ(row(text, "RTE"),
            "RTE SuperGLUE accuracy 372 50.00 86.02 int8 81.18 -4.84 ± 1.24 20 2 "
            "0 0.00012 0.00024");
  expect_part(text, "int8-5: 2 rows");
}

TEST(EvaluationReport, ShowsTheWorstLayersOfALargeModelAndAllInMarkdown) {
  Evaluation evaluation = whole_evaluation();
  std::vector<LayerFigures>& layers = evaluation.measured.profiles[0].layers;
  layers.resize(80, layers[0]);
  for (size_t layer = 0; layer < layers.size(); ++layer)
    layers[layer].ranks[0].both_error = 0.001 * static_cast<double>(layer % 40);
  const std::string text = format_evaluation(evaluation);
  expect_part(text, "(the 16 of 160 with the largest errors)");
  EXPECT_EQ(row(text, "   39     0").substr(0, 4), "39 0");
  EXPECT_EQ(row(text, "   10     0"), "no row begins with    10     0");
  const std::string markdown = evaluation_markdown(evaluation);
  expect_no_part(markdown, "with the largest errors");
  expect_part(markdown, "\n| 10 | 0 |");
}

TEST(EvaluationReport, WritesMarkdown) {
  const std::string text = evaluation_markdown(whole_evaluation());
  expect_part(text, "# What the KV cache's format costs\n\n- Model: 4 layers, hidden 256\n");
  expect_part(text, "\n- **Verdict**: int8: the loss is more than noise");
  expect_part(text, "\n## Text: 256 tokens in 8 windows");
  expect_part(text, "\n| Mean    KLD | 0.03125 ± 0 |\n");
  expect_part(text,
              "\n| RTE | SuperGLUE | accuracy | 372 | 50.00 | 86.02 | 81.18 | -4.84 ± 1.24 |");
  expect_no_part(text, "nan");
}

}  // namespace
}  // namespace kvcalib
