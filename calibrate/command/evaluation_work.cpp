// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/evaluation_work.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "calibrate/command/task_list.h"
#include "calibrate/data/text_in_order.h"
#include "calibrate/data/tokenizer.h"
#include "calibrate/data/windows.h"
#include "calibrate/evaluate/copy_texts.h"
#include "calibrate/evaluate/gates.h"
#include "calibrate/evaluate/task_items.h"
#include "sharding/files/error.h"
#include "sharding/files/excerpt.h"

namespace kvcalib {
namespace {

constexpr size_t kControlTokens = 128;
constexpr int64_t kRecallItems = 64;
constexpr int64_t kTreeTokens = 4096;  // that items with a passage in common make together
constexpr int32_t kUsualBos = 1;       // of SentencePiece models

// The model's tokenizer, opened when a text needs it.
class LazyTokenizer {
 public:
  LazyTokenizer(std::filesystem::path given, std::filesystem::path weights)
      : given_(std::move(given)), weights_(std::move(weights)) {}

  const std::filesystem::path& path() {
    if (given_.empty()) given_ = find_tokenizer(weights_);
    return given_;
  }
  const Tokenizer& get() {
    if (tokenizer_ == nullptr) tokenizer_ = std::make_unique<Tokenizer>(path());
    return *tokenizer_;
  }
  // What texts begin with: as the tokenizer says, or the model, or what is usual.
  std::optional<int32_t> bos(const ModelConfig& model, std::vector<std::string>& notes) {
    try {
      path();
    } catch (const Error&) {
      if (0 <= model.start_id && model.start_id < model.vocab)
        return static_cast<int32_t>(model.start_id);
      notes.push_back(concat("random texts begin with token ", kUsualBos,
                             ", as neither a SentencePiece model nor the model's config says ",
                             "another"));
      return kUsualBos;
    }
    return get().bos();
  }
  std::vector<std::string> warnings() const {
    return tokenizer_ == nullptr ? std::vector<std::string>() : tokenizer_->warnings();
  }
  // Nothing when it was not opened.
  std::optional<std::filesystem::path> opened() const {
    return tokenizer_ == nullptr ? std::nullopt : std::optional(given_);
  }

 private:
  std::filesystem::path given_;
  const std::filesystem::path weights_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TokenTree tree_of_text(std::vector<int32_t> ids) {
  TokenTree tree;
  tree.nodes.push_back({-1, 0, static_cast<int64_t>(ids.size())});
  tree.scored.assign(ids.size(), 1);
  tree.scored.front() = 0;
  tree.ids = std::move(ids);
  return tree;
}

// The first text's beginning: down the tree, a node's first child behind it.
TokenTree control_tree(const TokenTree& tree) {
  std::vector<int32_t> ids;
  int64_t above = -1;
  for (size_t i = 0; i < tree.nodes.size() && ids.size() < kControlTokens; ++i) {
    const TokenTree::Node& node = tree.nodes[i];
    if (node.parent != above) break;
    const auto first = tree.ids.begin() + node.first;
    const int64_t room = static_cast<int64_t>(kControlTokens - ids.size());
    ids.insert(ids.end(), first, first + std::min(node.count, room));
    above = static_cast<int64_t>(i);
  }
  return tree_of_text(std::move(ids));
}

// Adds trees to a run's.
TreeRange add_trees(EvaluationWork& work, std::vector<ScoredTree>&& trees, ItemTrees* items) {
  const size_t first = work.trees.size();
  for (ScoredTree& tree : trees) {
    for (const ScoredItem& item : tree.items)
      for (const TextInTree& text : item.texts) work.length = std::max(work.length, text.tokens);
    work.trees.push_back(std::move(tree.tree));
    if (items != nullptr) items->items.push_back(std::move(tree.items));
  }
  return {first, work.trees.size()};
}

void take_files(EvaluationWork& work, const std::vector<HashedFile>& files) {
  for (const HashedFile& file : files) work.read.push_back(file.path);
  work.files.insert(work.files.end(), files.begin(), files.end());
}

void take_warnings(EvaluationWork& work, const std::vector<std::string>& warnings) {
  for (const std::string& warning : warnings)
    if (std::find(work.warnings.begin(), work.warnings.end(), warning) == work.warnings.end())
      work.warnings.push_back(warning);
}

void add_text(EvaluationWork& work, const EvaluateOptions& options,
              const std::vector<std::filesystem::path>& data, LazyTokenizer& tokenizer,
              int64_t vocab) {
  if (data.empty()) return;
  const std::filesystem::path model =
      needs_tokenizer(data) ? tokenizer.path() : std::filesystem::path();
  TextInOrder text = read_text_in_order(
      data, model, {.length = options.length, .most_windows = options.limit}, vocab);
  work.text.first = work.trees.size();
  for (std::vector<int32_t>& window : text.windows) {
    work.length = std::max(work.length, static_cast<int64_t>(window.size()));
    work.trees.push_back(tree_of_text(std::move(window)));
  }
  work.text.last = work.trees.size();
  take_files(work, text.files);
  if (!model.empty()) work.read.push_back(model);
  take_warnings(work, text.warnings);
}

void add_random(EvaluationWork& work, const EvaluateOptions& options, LazyTokenizer& tokenizer,
                const ModelConfig& model) {
  if (!options.copy) return;
  const RandomTextRequest request{
      .vocab = model.vocab,
      .bos = tokenizer.bos(model, work.notes),
      .length = options.length,
      .seed = options.seed,
      .recall_items = std::min(kRecallItems, options.limit.value_or(kRecallItems))};
  for (CopyTexts& copies : copy_texts(request)) {
    if (options.limit && static_cast<int64_t>(copies.trees.size()) > *options.limit)
      copies.trees.resize(static_cast<size_t>(*options.limit));
    work.copies.push_back({copies.distance, add_trees(work, std::move(copies.trees), nullptr)});
  }
  work.recall.trees = add_trees(work, recall_trees(request), &work.recall);
}

void add_generation(EvaluationWork& work, const EvaluateOptions& options, TaskFile file,
                    LazyTokenizer& tokenizer, int64_t vocab) {
  work.tokenizer = tokenizer.path();  // that answers are read with, whatever prompts are
  work.end = tokenizer.get().eos();
  std::vector<PromptTokens> prompts =
      tokenize_prompts(file, &tokenizer.get(), vocab, options.length);
  const size_t place = work.tasks.size() + work.generations.size();
  work.generations.push_back({std::move(file), std::move(prompts), place});
}

void add_task(EvaluationWork& work, const EvaluateOptions& options, const ListedTask& listed,
              LazyTokenizer& tokenizer, int64_t vocab) {
  TaskTrees task{read_task_file(listed.path, vocab, options.limit), {}, 0};
  if (!listed.row.empty() && task.file.task != listed.row)
    throw Error(concat(listed.path.string(), ": is of the task '", excerpt(task.file.task),
                       "', but ", work.report->name, " has it as the file of '",
                       excerpt(listed.row), "'; make it again, or name the right file there"));
  take_files(work, {task.file.file});
  if (task.file.generation)
    return add_generation(work, options, std::move(task.file), tokenizer, vocab);
  const TaskTokens tokens = tokenize_task(
      task.file, task.file.holds_ids() ? nullptr : &tokenizer.get(), vocab, options.length);
  task.file.items.clear();
  task.items.trees =
      add_trees(work, trees_of(tokens.items, {.most_tokens = kTreeTokens}), &task.items);
  task.place = work.tasks.size() + work.generations.size();
  work.tasks.push_back(std::move(task));
}

void add_tasks(EvaluationWork& work, const EvaluateOptions& options, LazyTokenizer& tokenizer,
               int64_t vocab) {
  TaskList list = list_tasks(options);
  if (list.report_file) take_files(work, {*list.report_file});
  work.report = std::move(list.report);
  for (const ListedTask& task : list.tasks) add_task(work, options, task, tokenizer, vocab);
}

void check_gates(const EvaluateOptions& options, const EvaluationWork& work,
                 const std::vector<std::string>& names) {
  for (const std::string& unknown : unknown_tasks(options.gates, names)) {
    for (const ReportedRow& row : work.report.value_or(ReportedRows()).rows)
      if (row.task == unknown)
        throw Error(concat("--max-loss ", unknown, "=...: its task file ", row.file,
                           " is not there below --data-root ", options.data_root->string(),
                           "; make it, or leave the gate out"));
    throw UsageError(concat("--max-loss ", unknown, "=...: there is no task of that name among ",
                            "those of --tasks"));
  }
}

void check_task_names(const EvaluateOptions& options, const EvaluationWork& work) {
  std::vector<const TaskFile*> files;
  for (const TaskTrees& task : work.tasks) files.push_back(&task.file);
  for (const GenerationWork& task : work.generations) files.push_back(&task.file);
  std::vector<std::string> names;
  for (const TaskFile* file : files) {
    if (std::find(names.begin(), names.end(), file->task) != names.end())
      throw UsageError(concat("--tasks: two files are of the task ", file->task, ", the second ",
                              file->file.path.string(), "; give one of them"));
    names.push_back(file->task);
  }
  check_gates(options, work, names);
}

// The beginning of what is scored first, or else of the first prompt.
TokenTree control_of(const EvaluationWork& work, const EvaluateOptions& options) {
  if (work.trees.size() > kControlTrees) return control_tree(work.trees[kControlTrees]);
  if (work.generations.empty())
    throw Error(concat("--copy: ", options.length, " tokens are too few to copy anything; give a ",
                       "longer --length"));
  std::vector<int32_t> ids = work.generations.front().prompts.front().ids;
  if (ids.size() == 1) ids.push_back(ids.front());  // a token is scored
  return control_tree(tree_of_text(std::move(ids)));
}

}  // namespace

int64_t longest_of(const GenerationWork& work) {
  int64_t longest = 0;
  for (const PromptTokens& prompt : work.prompts)
    longest = std::max(longest, std::ssize(prompt.ids) + work.file.generation->max_new_tokens);
  return longest;
}

EvaluationWork read_work(const EvaluateOptions& options, const ModelConfig& config) {
  EvaluationWork work;
  LazyTokenizer tokenizer(options.tokenizer, options.weights);
  work.trees.resize(kControlTrees);
  if (!options.data.empty())
    add_text(work, options, expand_data_paths(options.data), tokenizer, config.vocab);
  add_random(work, options, tokenizer, config);
  add_tasks(work, options, tokenizer, config.vocab);
  take_warnings(work, tokenizer.warnings());
  if (const auto opened = tokenizer.opened()) work.read.push_back(*opened);
  check_task_names(options, work);
  work.trees.front() = control_of(work, options);
  work.length = std::max(work.length, work.trees.front().tokens());
  return work;
}

}  // namespace kvcalib
