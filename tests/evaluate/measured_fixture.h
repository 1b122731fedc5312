// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "calibrate/evaluate/measured.h"

namespace kvcalib {

// fp16 and int8.
inline std::vector<StreamInfo> two_streams() {
  return {{"fp16", "as it is", false}, {"int8", "int8 asymmetric, 2 ranks", false}};
}

// A second stream whose surprises are more than the first's by `more`, on average, give or take
// `scatter` by window, and whose divergence is `divergence` everywhere.
inline TextMeasures measured_text(float more, float scatter, float divergence, int windows = 8,
                                  float surprise = 2) {
  DivergenceMeter meter(2);
  for (int w = 0; w < windows; ++w) {
    TreeScores scores;
    scores.streams.resize(2);
    std::vector<uint8_t> scored(33, 1);
    scored.front() = 0;
    for (size_t t = 0; t < scored.size(); ++t) {
      const float base = surprise + 0.125F * static_cast<float>((t + w) % 4);
      scores.streams[0].surprise.push_back(base);
      scores.streams[1].surprise.push_back(base + more + (w % 2 == 0 ? scatter : -scatter));
      scores.streams[1].divergence.push_back(divergence);
      scores.streams[1].reverse_divergence.push_back(divergence);
      scores.streams[1].same_top.push_back(t % 16 == 0 && divergence > 0 ? 0 : 1);
    }
    meter.add(0, scores, scored);
  }
  return meter.measures();
}

// A task of two streams with so many items that were right and stayed so, that were wrong and
// stayed so, that were lost, and that were gained; every other right answer is text 0.
inline ScoredTask scored_task(const std::string& name, int right, int wrong, int lost, int gained) {
  ScoredTask task;
  task.task = name;
  task.dataset = "SuperGLUE";
  task.metric = "accuracy";
  const auto add = [&task](bool was_right, bool is_right) {
    ItemScores item;
    item.id = "item-" + std::to_string(task.items.size());
    item.gold = static_cast<int64_t>(task.items.size() % 2);
    item.tokens = {10, 10};
    for (const bool is_stream_right : {was_right, is_right}) {
      const bool is_first = is_stream_right == (item.gold == 0);
      item.sums.push_back({is_first ? 20.0 : 21.0, is_first ? 21.0 : 20.0});
    }
    task.items.push_back(std::move(item));
  };
  for (int i = 0; i < right; ++i) add(true, true);
  for (int i = 0; i < wrong; ++i) add(false, false);
  for (int i = 0; i < lost; ++i) add(true, false);
  for (int i = 0; i < gained; ++i) add(false, true);
  return task;
}

// Two tokens for each of the text's bytes, of which the second is always the same.
inline GeneratedAnswer generated(const std::string& text, bool right) {
  GeneratedAnswer answer{text, text, right, {}, true};
  for (const char byte : text) answer.ids.insert(answer.ids.end(), {byte, 1});
  return answer;
}

// A task of generated answers, of each item one by stream.
inline ScoredTask generated_task(const std::string& name,
                                 const std::vector<std::vector<GeneratedAnswer>>& answers) {
  ScoredTask task;
  task.task = name;
  task.dataset = "own";
  task.metric = "accuracy";
  for (const std::vector<GeneratedAnswer>& of_item : answers) {
    ItemScores& item = task.items.emplace_back();
    item.id = "item-" + std::to_string(task.items.size() - 1);
    item.answers = of_item;
  }
  return task;
}

}  // namespace kvcalib
