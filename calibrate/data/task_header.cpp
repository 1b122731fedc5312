// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/task_header.h"

#include <algorithm>
#include <iterator>

#include "calibrate/data/task_fields.h"
#include "sharding/files/error.h"
#include "sharding/files/excerpt.h"

namespace kvcalib {
namespace {

using nlohmann::json;

constexpr const char* kFormat = "kvcalib-task";
constexpr int64_t kVersion = 1;
constexpr std::string_view kMetric = "accuracy";

constexpr std::string_view kHeaderKeys[] = {"average", "bos",    "dataset", "extract",
                                            "follows", "format", "labels",  "max_new_tokens",
                                            "metric",  "rule",   "task",    "version"};

constexpr std::string_view kGenerated = "gen";
constexpr int64_t kMostNewTokens = 4096;

ScoringRule rule_of(const JsonObject& header) {
  const std::string name = header.text("rule");
  for (const ScoringRule rule :
       {ScoringRule::kPerToken, ScoringRule::kPerPredicted, ScoringRule::kSum}) {
    if (name == name_of(rule)) return rule;
  }
  header.refuse(concat("rule is '", excerpt(name), "', expected ppl, ppl/(n-1), ll or gen"));
}

GenerationRule generation_of(const JsonObject& header) {
  if (header.has("labels"))
    header.refuse("has labels, but the rule is gen, whose items have no texts");
  GenerationRule rule;
  rule.extract = header.text("extract");
  if (std::ranges::find(kAnswerRules, rule.extract) == std::end(kAnswerRules)) {
    header.refuse(
        concat("extract is '", excerpt(rule.extract), "', expected one of ", listed(kAnswerRules)));
  }
  if (!header.has("max_new_tokens")) header.refuse("max_new_tokens is missing");
  rule.max_new_tokens = number_between(header, "max_new_tokens", *header.find("max_new_tokens"), 1,
                                       kMostNewTokens + 1, "a number");
  return rule;
}

void refuse_generation_keys(const JsonObject& header) {
  for (const std::string_view key : {"extract", "max_new_tokens"}) {
    if (header.has(key))
      header.refuse(
          concat(key, " is of rule gen alone, but the file's rule is ", header.text("rule")));
  }
}

bool is_mean_of_groups(const JsonObject& header) {
  const std::string average = header.text("average", "items");
  if (average != "items" && average != "groups")
    header.refuse(concat("average is '", excerpt(average), "', expected items or groups"));
  return average == "groups";
}

}  // namespace

const char* name_of(ScoringRule rule) {
  switch (rule) {
    case ScoringRule::kPerToken:
      return "ppl";
    case ScoringRule::kPerPredicted:
      return "ppl/(n-1)";
    case ScoringRule::kSum:
      return "ll";
  }
  return "";
}

TaskHeader read_task_header(const JsonObject& header, int64_t vocab) {
  if (!header.has("format") || header.shown("format") != concat('"', kFormat, '"')) {
    header.refuse(concat("is not the first line of a task file, which states \"format\": \"",
                         kFormat, "\"; scripts/make_tasks.py writes task files"));
  }
  if (header.integer("version") != kVersion) {
    header.refuse(concat("version is ", header.shown("version"), ", expected ", kVersion,
                         "; make the file again with the scripts/make_tasks.py of this version"));
  }
  check_keys(header, kHeaderKeys);
  TaskHeader task;
  task.task = stated_text(header, "task");
  task.dataset = stated_text(header, "dataset");
  task.metric = header.text("metric");
  if (task.metric != kMetric) {
    header.refuse(concat("metric is '", excerpt(task.metric), "', expected ", kMetric));
  }
  if (header.text("rule") == kGenerated) {
    task.generation = generation_of(header);
  } else {
    task.rule = rule_of(header);
    refuse_generation_keys(header);
  }
  task.follows = header.text("follows", "");
  task.labels = header.texts("labels");
  task.mean_of_groups = is_mean_of_groups(header);
  if (const json* bos = header.find("bos"))
    task.bos = static_cast<int32_t>(number_below(header, "bos", *bos, vocab, "an id"));
  return task;
}

}  // namespace kvcalib
