// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/task_item.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

#include "calibrate/data/task_fields.h"
#include "sharding/files/error.h"
#include "sharding/files/json_reader.h"

namespace kvcalib {
namespace {

using nlohmann::json;

constexpr int64_t kMostChoices = 4096;
constexpr int64_t kMostAnswers = 4096;

constexpr std::string_view kItemKeys[] = {"from", "gold", "group", "id", "ids", "texts"};
constexpr std::string_view kGeneratedItemKeys[] = {"answers", "group", "id", "ids", "prompt"};

void read_texts(const JsonObject& object, TaskItem& item) {
  item.texts = object.texts("texts");
  const auto empty = std::find(item.texts.begin(), item.texts.end(), "");
  if (empty != item.texts.end())
    object.refuse(concat("text ", empty - item.texts.begin(), " is empty"));
}

// `which` names the text in errors.
std::vector<int32_t> ids_of(const JsonObject& object, const json& text, int64_t vocab,
                            std::optional<int32_t> bos, const std::string& which) {
  std::vector<int32_t> ids;
  for (const json& id : text) {
    ids.push_back(static_cast<int32_t>(
        number_below(object, "ids", id, vocab, "an id of the model's vocabulary,")));
  }
  if (ids.empty()) object.refuse(concat(which, " is empty"));
  if (bos && ids.front() != *bos)
    object.refuse(concat(which, " begins with id ", ids.front(), ", but bos is ", *bos));
  return ids;
}

void read_ids(const JsonObject& object, int64_t vocab, std::optional<int32_t> bos, TaskItem& item) {
  for (const json& text : list_of(object, "ids")) {
    if (!text.is_array())
      object.refuse(concat("ids holds ", json_excerpt(text), ", expected lists of ids"));
    item.ids.push_back(ids_of(object, text, vocab, bos, concat("text ", item.ids.size())));
  }
}

// In characters of well-formed UTF-8, which the JSON reader sees to.
int64_t characters_of(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; });
}

void read_from(const JsonObject& object, ScoringRule rule, TaskItem& item) {
  if (rule != ScoringRule::kSum) {
    if (object.has("from"))
      object.refuse(concat("from is of rule ll alone, but the file's rule is ", name_of(rule)));
    return;
  }
  const json& from = list_of(object, "from");
  if (static_cast<int64_t>(from.size()) != item.choices()) {
    object.refuse(
        concat("from has ", from.size(), " entries, but there are ", item.choices(), " texts"));
  }
  for (const json& entry : from) {
    const size_t text = item.from.size();
    const int64_t length = item.ids.empty() ? characters_of(item.texts[text])
                                            : static_cast<int64_t>(item.ids[text].size());
    const std::string what = concat("a place in text ", text, ",");
    item.from.push_back(number_below(object, "from", entry, length, what.c_str()));
  }
}

// Whether the item is told in ids and not in `words`, the key of its text.
bool is_told_in_ids(const JsonObject& object, const char* words) {
  const bool as_ids = object.has("ids");
  if (as_ids == object.has(words))
    object.refuse(concat("has ", as_ids ? "both " : "neither ", words, as_ids ? " and" : " nor",
                         " ids; expected one of them"));
  return as_ids;
}

void read_choices(const JsonObject& object, const TaskHeader& task, int64_t vocab, TaskItem& item) {
  if (is_told_in_ids(object, "texts"))
    read_ids(object, vocab, task.bos, item);
  else
    read_texts(object, item);
  if (item.choices() < 2 || item.choices() > kMostChoices)
    object.refuse(concat("has ", item.choices(), " texts, expected 2 to ", kMostChoices));
  if (!task.labels.empty() && item.choices() != static_cast<int64_t>(task.labels.size()))
    object.refuse(
        concat("has ", item.choices(), " texts, but the file's labels are ", task.labels.size()));
  read_from(object, task.rule, item);
  item.gold = number_below(object, "gold", object.has("gold") ? *object.find("gold") : json(),
                           item.choices(), "a text,");
}

void read_question(const JsonObject& object, const TaskHeader& task, int64_t vocab,
                   TaskItem& item) {
  if (is_told_in_ids(object, "prompt"))
    item.prompt_ids = ids_of(object, list_of(object, "ids"), vocab, task.bos, "the prompt");
  else
    item.prompt = stated_text(object, "prompt");
  item.answers = object.texts("answers");
  const auto count = static_cast<int64_t>(item.answers.size());
  if (count < 1 || count > kMostAnswers)
    object.refuse(concat("has ", count, " answers, expected 1 to ", kMostAnswers));
  const auto empty = std::find(item.answers.begin(), item.answers.end(), "");
  if (empty != item.answers.end())
    object.refuse(concat("answer ", empty - item.answers.begin(), " is empty"));
}

}  // namespace

TaskItem read_task_item(const JsonObject& object, const TaskHeader& task, int64_t vocab) {
  if (!task.generation && object.states("prompt"))
    object.refuse(
        concat("prompt is of rule gen alone, but the file's rule is ", name_of(task.rule)));
  if (task.generation)
    check_keys(object, kGeneratedItemKeys);
  else
    check_keys(object, kItemKeys);
  TaskItem item;
  item.id = stated_text(object, "id");
  item.group = object.text("group", "");
  if (task.mean_of_groups && item.group.empty())
    object.refuse("has no group, but the file's average is groups");
  if (task.generation)
    read_question(object, task, vocab, item);
  else
    read_choices(object, task, vocab, item);
  return item;
}

}  // namespace kvcalib
