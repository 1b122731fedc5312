// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/command/options.h"
#include "calibrate/data/input_file.h"
#include "calibrate/data/task_file.h"
#include "calibrate/engine/token_tree.h"
#include "calibrate/evaluate/item_tree.h"
#include "calibrate/evaluate/reported_rows.h"
#include "calibrate/evaluate/task_prompts.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

// Trees [first, last) of a run.
struct TreeRange {
  size_t first = 0, last = 0;
};

// Items, by the tree in which they stand.
struct ItemTrees {
  TreeRange trees;
  std::vector<std::vector<ScoredItem>> items;
};

// A task file's items in trees; the file's own items are taken out of it.
struct TaskTrees {
  TaskFile file;
  ItemTrees items;
  size_t place = 0;  // among all tasks, as they are told
};

// A task of rule gen.
struct GenerationWork {
  TaskFile file;
  std::vector<PromptTokens> prompts;  // of its items
  size_t place = 0;                   // as of TaskTrees
};

// Random tokens and the same again, so many tokens later.
struct CopyTrees {
  int64_t distance = 0;
  TreeRange trees;
};

// All that is to be scored: one list of trees, and what they are.
struct EvaluationWork {
  // The first is the control: the beginning of the first text, which a stream that changes nothing
  // takes too.
  std::vector<TokenTree> trees;
  TreeRange text;
  std::vector<CopyTrees> copies;
  ItemTrees recall;
  std::vector<TaskTrees> tasks;
  std::vector<GenerationWork> generations;
  std::optional<ReportedRows> report;  // that names tasks of these
  // Where there are any: the SentencePiece model that makes text of what is generated, and the
  // token that ends a text.
  std::filesystem::path tokenizer;
  std::optional<int32_t> end;
  std::vector<HashedFile> files;            // data, the report and tasks
  std::vector<std::filesystem::path> read;  // these and the tokenizer
  std::vector<std::string> warnings, notes;

  int64_t length = 0;  // tokens of the longest text
};

inline constexpr size_t kControlTrees = 1;

// Tokens of the longest prompt with its answer.
int64_t longest_of(const GenerationWork& work);

// Reads and cuts it all.  Throws Error naming file and place for what is not of its format, and
// when a text needs a tokenizer that is not there; UsageError for a task of --max-loss that there
// is not.
EvaluationWork read_work(const EvaluateOptions& options, const ModelConfig& config);

}  // namespace kvcalib
