// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/task_item.h"

#include <algorithm>
#include <string_view>

#include "calibrate/data/task_fields.h"
#include "sharding/files/error.h"
#include "sharding/files/json_reader.h"

namespace kvcalib {
namespace {

using nlohmann::json;

constexpr int64_t kMostChoices = 4096;

constexpr std::string_view kItemKeys[] = {"from", "gold", "group", "id", "ids", "texts"};

void read_texts(const JsonObject& object, TaskItem& item) {
  item.texts = object.texts("texts");
  const auto empty = std::find(item.texts.begin(), item.texts.end(), "");
  if (empty != item.texts.end())
    object.refuse(concat("text ", empty - item.texts.begin(), " is empty"));
}

void read_ids(const JsonObject& object, int64_t vocab, std::optional<int32_t> bos, TaskItem& item) {
  for (const json& text : list_of(object, "ids")) {
    if (!text.is_array())
      object.refuse(concat("ids holds ", json_excerpt(text), ", expected lists of ids"));
    std::vector<int32_t> ids;
    for (const json& id : text) {
      ids.push_back(static_cast<int32_t>(
          number_below(object, "ids", id, vocab, "an id of the model's vocabulary,")));
    }
    const std::string which = concat("text ", item.ids.size());
    if (ids.empty()) object.refuse(concat(which, " is empty"));
    if (bos && ids.front() != *bos)
      object.refuse(concat(which, " begins with id ", ids.front(), ", but bos is ", *bos));
    item.ids.push_back(std::move(ids));
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

void read_choices(const JsonObject& object, const TaskHeader& task, int64_t vocab, TaskItem& item) {
  const bool as_ids = object.has("ids");
  if (as_ids == object.has("texts"))
    object.refuse(concat("has ", as_ids ? "both" : "neither", " texts ", as_ids ? "and" : "nor",
                         " ids; expected one of them"));
  if (as_ids)
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

}  // namespace

TaskItem read_task_item(const JsonObject& object, const TaskHeader& task, int64_t vocab) {
  if (object.states("prompt"))
    object.refuse("is an item with a 'prompt': generated answers are not scored by this version");
  check_keys(object, kItemKeys);
  TaskItem item;
  item.id = stated_text(object, "id");
  item.group = object.text("group", "");
  if (task.mean_of_groups && item.group.empty())
    object.refuse("has no group, but the file's average is groups");
  read_choices(object, task, vocab, item);
  return item;
}

}  // namespace kvcalib
