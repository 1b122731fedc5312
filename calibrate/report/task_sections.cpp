// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/task_sections.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string>
#include <utility>

#include "calibrate/report/figures.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr size_t kLabelsShown = 8;

// "33/67": in percent of those that were counted.
std::string shares(const std::vector<int64_t>& counts) {
  if (counts.empty() || counts.size() > kLabelsShown) return "-";
  int64_t all = 0;
  for (const int64_t count : counts) all += count;
  std::string text;
  for (const int64_t count : counts) {
    if (!text.empty()) text += "/";
    text +=
        all == 0 ? "-" : decimals(100.0 * static_cast<double>(count) / static_cast<double>(all), 0);
  }
  return text;
}

// A table with a row for each task and stream behind the first; what is the task's alone stands in
// the first of its rows.  Of one such stream no row says which.
class TaskTable {
 public:
  explicit TaskTable(const std::vector<StreamInfo>& streams) : streams_(streams) {}

  bool names_streams() const { return streams_.size() > 2; }

  template <typename OfTask, typename OfStream>
  void add(const std::vector<TaskScore>& tasks, OfTask&& of_task, OfStream&& of_stream) {
    for (const TaskScore& task : tasks)
      for (size_t s = 1; s < task.streams.size(); ++s) {
        std::vector<std::string> row = of_task(task);
        if (s > 1) row.assign(row.size(), "");
        if (names_streams()) row.push_back(streams_[s].name);
        for (std::string& cell : of_stream(task.streams[s])) row.push_back(std::move(cell));
        table.rows.push_back(std::move(row));
      }
  }

  Table table;

 private:
  const std::vector<StreamInfo>& streams_;
};

std::vector<std::string> joined(std::vector<std::string> first, bool with_stream,
                                const std::vector<std::string>& second) {
  if (with_stream) first.emplace_back("stream");
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

// Puts the rows of a report whose task files are not there where they belong among the tasks' rows,
// of which each task has so many.
void add_missing(Table& table, const ReportedRows& report, size_t rows_of_task) {
  auto place = static_cast<std::ptrdiff_t>(report.first * rows_of_task);
  for (const ReportedRow& row : report.rows) {
    if (row.is_missing)
      table.rows.insert(table.rows.begin() + place,
                        {row.task, row.dataset, concat(row.file, " is missing")});
    place += row.is_missing ? 1 : static_cast<std::ptrdiff_t>(rows_of_task);
  }
}

Section scores(const std::vector<TaskScore>& tasks, const std::vector<StreamInfo>& streams) {
  TaskTable table(streams);
  table.table.text_columns = 3;
  table.table.header = joined({"task", "dataset", "metric", "n", "const", streams.front().name},
                              table.names_streams(),
                              {table.names_streams() ? "score" : streams.back().name, "diff",
                               "lost", "gained", "other", "p", "Holm"});
  table.add(
      tasks,
      [](const TaskScore& task) {
        return std::vector<std::string>{
            task.task,
            task.dataset,
            task.metric,
            concat(task.items),
            task.has_one_gold_label() ? "-" : decimals(task.baseline, 2),
            decimals(task.streams.front().score.value, 2)};
      },
      [](const StreamScore& score) {
        return std::vector<std::string>{decimals(score.score.value, 2),
                                        signed_decimals(score.difference, 2),
                                        concat(score.lost),
                                        concat(score.gained),
                                        concat(score.changed_but_wrong),
                                        significant(score.p, 2),
                                        significant(score.corrected_p, 2)};
      });
  Section section;
  section.table = std::move(table.table);
  section.lines = {
      "const: the best constant answer (-: the same text is always right, or answers are "
      "generated); diff: points ± paired "
      "standard error; other: changed but "
      "still wrong;",
      "p: exact sign test of lost against gained; Holm: the same, corrected over the rows"};
  return section;
}

Section margins(const std::vector<TaskScore>& tasks, const std::vector<StreamInfo>& streams) {
  TaskTable table(streams);
  const std::string& base = streams.front().name;
  table.table.text_columns = 1;
  table.table.header = joined({"task", "least", "margin", "gold %", base + " %"},
                              table.names_streams(), {"chosen %", "change of margin"});
  table.add(
      tasks,
      [](const TaskScore& task) {
        return std::vector<std::string>{task.task, decimals(task.smallest_difference, 2),
                                        significant(task.streams.front().margin),
                                        shares(task.gold_labels),
                                        shares(task.streams.front().labels)};
      },
      [](const StreamScore& score) {
        return std::vector<std::string>{shares(score.labels),
                                        score.agreement ? "-" : significant(score.margin_change)};
      });
  Section section;
  section.title = "Margins and labels";
  section.table = std::move(table.table);
  section.lines = {
      "least: the smallest difference, in points, that so many items could have shown;",
      concat("margin: of ", base, ", best wrong text's value less the right one's, mean;"),
      "%: how often each text is the right one, and is chosen"};
  return section;
}

// What a report's rows come to.
std::vector<std::string> report_lines(const Measured& measured, const ReportedRows& report) {
  std::vector<std::string> lines;
  for (size_t stream = 1; stream < measured.streams.size(); ++stream)
    lines.push_back(
        concat(report.name, ", ", measured.streams[stream].name, ": mean difference of ",
               report.present(), report.is_whole() ? "" : concat(" of ", report.rows.size()),
               " rows ", signed_decimals(mean_difference(report, measured.tasks, stream), 2),
               " points, each row of the same weight (the error takes rows for independent)"));
  if (!report.is_whole())
    lines.push_back(concat("missing: their task files are not below --data-root; ",
                           "scripts/make_tasks.py makes them of the data sets"));
  return lines;
}

std::vector<std::string> summary(const std::vector<TaskScore>& tasks,
                                 const std::vector<StreamInfo>& streams) {
  std::vector<std::string> lines;
  const std::vector<TaskTotals> all = totals(tasks);
  for (size_t s = 1; s < all.size(); ++s)
    lines.push_back(
        concat(streams[s].name, ": ", all[s].rows, all[s].rows == 1 ? " row, " : " rows, ",
               all[s].items, " items: ", all[s].lost, " lost, ", all[s].gained, " gained, ",
               all[s].changed_but_wrong, " changed but still wrong; ", all[s].significant,
               " with p below 0.05, where chance expects ", significant(all[s].expected, 2), "; ",
               all[s].still_significant, " after Holm's correction"));
  for (const TaskScore& task : tasks)
    if (task.cut > 0)
      lines.push_back(concat(task.task, ": ", task.cut, " of ", task.items,
                             " items were too long for the model and cut on the left"));
  return lines;
}

std::vector<Section> sections_of(const std::string& title, const std::vector<TaskScore>& tasks,
                                 const std::vector<StreamInfo>& streams) {
  if (tasks.empty() || streams.size() < 2) return {};
  std::vector<Section> sections = {scores(tasks, streams)};
  sections.front().title = title;
  std::vector<TaskScore> of_texts;
  std::copy_if(tasks.begin(), tasks.end(), std::back_inserter(of_texts),
               [](const TaskScore& task) { return !task.is_generated; });
  if (!of_texts.empty()) sections.push_back(margins(of_texts, streams));
  sections.push_back({"", {}, summary(tasks, streams)});
  return sections;
}

}  // namespace

std::vector<Section> recall_sections(const Measured& measured) {
  return sections_of("Recall: random pairs of a key and a value, then one key again; which value?",
                     measured.recall, measured.streams);
}

std::vector<Section> task_sections(const Measured& measured) {
  std::vector<Section> sections = sections_of("Tasks", measured.tasks, measured.streams);
  if (measured.report && !sections.empty()) {
    add_missing(sections.front().table, *measured.report, measured.streams.size() - 1);
    for (std::string& line : report_lines(measured, *measured.report))
      sections.back().lines.push_back(std::move(line));
  }
  return sections;
}

}  // namespace kvcalib
