// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "calibrate/evaluate/layer_findings.h"
#include "calibrate/evaluate/verdict.h"
#include "calibrate/report/evaluation.h"
#include "tests/evaluate/measured_fixture.h"
#include "tests/evaluate/simulated_profile.h"

namespace kvcalib {

inline std::vector<ScoredTask> two_tasks() {
  std::vector<ScoredTask> tasks = {scored_task("RTE", 300, 50, 20, 2),
                                   scored_task("MultiRC", 60, 30, 5, 5)};
  tasks[0].follows = "OpenCompass base_medium 2023-07";
  tasks[1].items[3].cut = true;
  return tasks;
}

// All parts, of two streams.
inline Evaluation whole_evaluation() {
  Evaluation evaluation;
  evaluation.model = "4 layers, hidden 256";
  evaluation.runtime = "TurboMind v0.3.0";
  Measured& measured = evaluation.measured;
  measured.streams = two_streams();
  measured.vocab = 2048;
  measured.is_control_zero = true;
  measured.text = measured_text(0.25F, 0.0625F, 0.03125F);
  measured.copy = {{16, measured_text(0.25F, 0.0625F, 0.03125F)},
                   {64, measured_text(0.25F, 0.0625F, 0.03125F, 8, 9)}};
  measured.recall = score_tasks(std::vector{scored_task("recall", 20, 10, 2, 1)});
  measured.tasks = score_tasks(two_tasks());
  SimulatedModel model = small_model();
  std::vector<KvScale> scales = simulated_scales(model);
  scales[8].k_scale *= 4;
  const StreamProfile profile = simulated_profile(model, scales);
  const std::vector<LayerFigures> layers = layer_figures(profile, model.ranks);
  measured.profiles = {{1, clipped_share(profile), layers, layer_findings(layers, scales)}};
  evaluation.verdict = verdict(measured);
  evaluation.notes = {"a note"};
  return evaluation;
}

// The tasks of two_tasks() as rows of a report that has three more, behind a task that is not its
// own.
inline Evaluation partly_reported() {
  Evaluation evaluation;
  Measured& measured = evaluation.measured;
  measured.streams = two_streams();
  std::vector<ScoredTask> tasks = two_tasks();
  tasks.insert(tasks.begin(), scored_task("own", 20, 10, 2, 1));
  measured.tasks = score_tasks(tasks);
  const auto row = [](const char* task, bool is_missing) {
    return ReportedRow{{task, "SuperGLUE", "a config", std::string(task) + ".jsonl"}, is_missing};
  };
  measured.report = ReportedRows{"report.json",
                                 1,
                                 {row("BoolQ", true), row("RTE", false), row("CB", true),
                                  row("MultiRC", false), row("COPA", true)}};
  return evaluation;
}

}  // namespace kvcalib
