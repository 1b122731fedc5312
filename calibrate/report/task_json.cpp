// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/task_json.h"

#include "sharding/files/json_writer.h"

namespace kvcalib {

using Json = nlohmann::ordered_json;

Json tasks_json(const std::vector<TaskScore>& tasks, const std::vector<StreamInfo>& infos) {
  Json list = Json::array();
  for (const TaskScore& task : tasks) {
    Json streams = Json::array();
    for (size_t s = 0; s < task.streams.size(); ++s) {
      const StreamScore& score = task.streams[s];
      streams.push_back({{"name", infos[s].name},
                         {"score", score.score.value},
                         {"diff", score.difference.value},
                         {"error", score.difference.error},
                         {"lost", score.lost},
                         {"gained", score.gained},
                         {"p", score.p},
                         {"score_error", score.score.error},
                         {"changed_but_wrong", score.changed_but_wrong},
                         {"p_holm", score.corrected_p},
                         {"margin", score.margin},
                         {"margin_change", score.margin_change.value},
                         {"margin_change_error", score.margin_change.error},
                         {"labels", score.labels}});
      if (score.agreement)
        streams.back().update(
            {{"equal", score.agreement->equal}, {"parts_at", score.agreement->parts_at}});
    }
    list.push_back({{"task", task.task},
                    {"dataset", task.dataset},
                    {"metric", task.metric},
                    {"n", task.items},
                    {"baseline", task.baseline},
                    {"streams", streams},
                    {"clusters", task.clusters},
                    {"cut", task.cut},
                    {"smallest_difference", task.smallest_difference},
                    {"gold_labels", task.gold_labels},
                    {"follows", task.follows}});
  }
  return list;
}

Json task_totals_json(const Measured& measured) {
  Json list = Json::array();
  const std::vector<TaskTotals> all = totals(measured.tasks);
  for (size_t s = 1; s < all.size(); ++s)
    list.push_back({{"name", measured.streams[s].name},
                    {"rows", all[s].rows},
                    {"items", all[s].items},
                    {"lost", all[s].lost},
                    {"gained", all[s].gained},
                    {"changed_but_wrong", all[s].changed_but_wrong},
                    {"below_0_05", all[s].significant},
                    {"below_0_05_expected", all[s].expected},
                    {"below_0_05_holm", all[s].still_significant}});
  return list;
}

Json report_json(const Measured& measured) {
  if (!measured.report) return nullptr;
  const ReportedRows& report = *measured.report;
  Json rows = Json::array(), means = Json::array();
  for (const ReportedRow& row : report.rows)
    rows.push_back({{"task", row.task},
                    {"dataset", row.dataset},
                    {"follows", row.follows},
                    {"file", row.file},
                    {"missing", row.is_missing}});
  for (size_t s = 1; s < measured.streams.size(); ++s) {
    const Estimate mean = mean_difference(report, measured.tasks, s);
    means.push_back({{"name", measured.streams[s].name},
                     {"rows", report.present()},
                     {"diff", mean.value},
                     {"error", mean.error}});
  }
  return {{"file", report.name}, {"rows", rows}, {"mean_differences", means}};
}

namespace {

// Of an item's texts.
void add_choices(const ScoredTask& task, const ItemScores& item,
                 std::span<const StreamInfo> streams, Json& line) {
  Json values = Json::object(), choices = Json::object();
  for (size_t s = 0; s < item.sums.size(); ++s) {
    const std::string name = escape_invalid_utf8(streams[s].name);
    const std::vector<double> of_texts = text_values(task.rule, item, s);
    values[name] = of_texts;
    choices[name] = choice_of(of_texts);
  }
  line["gold"] = item.gold;
  line["values"] = values;
  line["choice"] = choices;
}

void add_answers(const ItemScores& item, std::span<const StreamInfo> streams, Json& line) {
  Json answers = Json::object();
  for (size_t s = 0; s < item.answers.size(); ++s) {
    const GeneratedAnswer& answer = item.answers[s];
    answers[escape_invalid_utf8(streams[s].name)] = {
        {"text", escape_invalid_utf8(answer.text)},
        {"extracted", escape_invalid_utf8(answer.extracted)},
        {"right", answer.right},
        {"tokens", answer.ids.size()},
        {"ended", answer.ended}};
  }
  line["answers"] = answers;
}

}  // namespace

std::string items_jsonl(std::span<const ScoredTask> tasks, std::span<const StreamInfo> streams) {
  std::string text;
  for (const ScoredTask& task : tasks)
    for (const ItemScores& item : task.items) {
      Json line = {{"task", escape_invalid_utf8(task.task)}, {"id", escape_invalid_utf8(item.id)}};
      if (item.is_generated())
        add_answers(item, streams, line);
      else
        add_choices(task, item, streams, line);
      text += line.dump() + "\n";
    }
  return text;
}

}  // namespace kvcalib
