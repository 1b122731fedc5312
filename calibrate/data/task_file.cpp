// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/task_file.h"

#include <algorithm>
#include <limits>
#include <map>
#include <span>
#include <string_view>
#include <unordered_map>

#include "calibrate/data/line_file.h"
#include "sharding/files/error.h"
#include "sharding/files/excerpt.h"
#include "sharding/files/json_object.h"
#include "sharding/files/json_reader.h"

namespace kvcalib {
namespace {

using nlohmann::json;

constexpr uint64_t kLargestLine = uint64_t{64} << 20;
constexpr const char* kFormat = "kvcalib-task";
constexpr int64_t kVersion = 1;
constexpr int64_t kMostChoices = 4096;
constexpr std::string_view kMetric = "accuracy";

constexpr std::string_view kHeaderKeys[] = {"average", "bos",    "dataset", "follows", "format",
                                            "labels",  "metric", "rule",    "task",    "version"};
constexpr std::string_view kItemKeys[] = {"from", "gold", "group", "id", "ids", "texts"};

std::string line_name(const std::filesystem::path& file, uint64_t line) {
  return concat(file.string(), ", line ", line);
}

std::string listed(std::span<const std::string_view> keys) {
  std::string list;
  for (const std::string_view key : keys) list += concat(list.empty() ? "" : ", ", key);
  return list;
}

void check_keys(const JsonObject& object, std::span<const std::string_view> known) {
  for (const std::string& key : object.keys()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    object.refuse(concat("the key '", excerpt(key), "' is unknown; expected ", listed(known)));
  }
}

std::string stated_text(const JsonObject& object, std::string_view key) {
  std::string text = object.text(key);
  if (text.empty()) object.refuse(concat(key, " is empty"));
  return text;
}

// An integer in [0, limit).
int64_t number_below(const JsonObject& object, std::string_view key, const json& value,
                     int64_t limit, const char* what) {
  const bool fits = value.is_number_unsigned() &&
                    value.get<uint64_t>() < static_cast<uint64_t>(std::max<int64_t>(limit, 0));
  if (!fits) {
    object.refuse(
        concat(key, " holds ", json_excerpt(value), ", expected ", what, " from 0 to ", limit - 1));
  }
  return value.get<int64_t>();
}

const json& list_of(const JsonObject& object, std::string_view key) {
  const json* list = object.find(key);
  if (list == nullptr) object.refuse(concat(key, " is missing"));
  if (!list->is_array())
    object.refuse(concat(key, " = ", json_excerpt(*list), ", expected a list"));
  return *list;
}

ScoringRule rule_of(const JsonObject& header) {
  const std::string name = header.text("rule");
  for (const ScoringRule rule :
       {ScoringRule::kPerToken, ScoringRule::kPerPredicted, ScoringRule::kSum}) {
    if (name == name_of(rule)) return rule;
  }
  header.refuse(concat("rule is '", excerpt(name), "', expected ppl, ppl/(n-1) or ll"));
}

bool is_mean_of_groups(const JsonObject& header) {
  const std::string average = header.text("average", "items");
  if (average != "items" && average != "groups")
    header.refuse(concat("average is '", excerpt(average), "', expected items or groups"));
  return average == "groups";
}

void read_header(const JsonObject& header, int64_t vocab, TaskFile& task) {
  if (!header.has("format") || header.shown("format") != concat('"', kFormat, '"')) {
    header.refuse(concat("is not the first line of a task file, which states \"format\": \"",
                         kFormat, "\"; scripts/make_tasks.py writes task files"));
  }
  if (header.integer("version") != kVersion) {
    header.refuse(concat("version is ", header.shown("version"), ", expected ", kVersion,
                         "; make the file again with the scripts/make_tasks.py of this version"));
  }
  check_keys(header, kHeaderKeys);
  task.task = stated_text(header, "task");
  task.dataset = stated_text(header, "dataset");
  task.metric = header.text("metric");
  if (task.metric != kMetric) {
    header.refuse(concat("metric is '", excerpt(task.metric), "', expected ", kMetric));
  }
  task.rule = rule_of(header);
  task.follows = header.text("follows", "");
  task.labels = header.texts("labels");
  task.mean_of_groups = is_mean_of_groups(header);
  if (const json* bos = header.find("bos"))
    task.bos = static_cast<int32_t>(number_below(header, "bos", *bos, vocab, "an id"));
}

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

// Reads the lines of a task file as they come.
class TaskReader {
 public:
  TaskReader(std::filesystem::path path, int64_t vocab, int64_t most_items)
      : path_(std::move(path)), vocab_(vocab), most_items_(most_items) {}

  void take(std::string_view line, uint64_t number) {
    if (static_cast<int64_t>(task_.items.size()) == most_items_) return;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) return;
    const JsonObject object = JsonObject::parse(line, line_name(path_, number));
    if (has_header_) {
      take_item(object, number);
    } else {
      read_header(object, vocab_, task_);
      has_header_ = true;
    }
  }

  TaskFile finish(HashedFile file) {
    if (task_.items.empty()) {
      throw Error(concat(path_.string(), ": holds no ", has_header_ ? "items" : "task",
                         "; scripts/make_tasks.py writes task files"));
    }
    task_.file = std::move(file);
    return std::move(task_);
  }

 private:
  void take_item(const JsonObject& object, uint64_t number) {
    if (object.states("prompt"))
      object.refuse("is an item with a 'prompt': generated answers are not scored by this version");
    check_keys(object, kItemKeys);
    TaskItem item;
    item.line = number;
    item.id = stated_text(object, "id");
    item.group = object.text("group", "");
    if (task_.mean_of_groups && item.group.empty())
      object.refuse("has no group, but the file's average is groups");
    read_choices(object, item);
    read_from(object, task_.rule, item);
    item.gold = number_below(object, "gold", object.has("gold") ? *object.find("gold") : json(),
                             item.choices(), "a text,");
    const auto [other, is_new] = lines_.emplace(item.id, number);
    if (!is_new)
      object.refuse(concat("the id '", excerpt(item.id), "' is that of line ", other->second));
    task_.items.push_back(std::move(item));
  }

  void read_choices(const JsonObject& object, TaskItem& item) {
    const bool as_ids = object.has("ids");
    if (as_ids == object.has("texts"))
      object.refuse(concat("has ", as_ids ? "both" : "neither", " texts ", as_ids ? "and" : "nor",
                           " ids; expected one of them"));
    if (!task_.items.empty() && as_ids != task_.holds_ids())
      object.refuse("texts and ids are mixed; expected all items to have the same");
    if (as_ids)
      read_ids(object, vocab_, task_.bos, item);
    else
      read_texts(object, item);
    if (item.choices() < 2 || item.choices() > kMostChoices)
      object.refuse(concat("has ", item.choices(), " texts, expected 2 to ", kMostChoices));
    if (!task_.labels.empty() && item.choices() != static_cast<int64_t>(task_.labels.size()))
      object.refuse(concat("has ", item.choices(), " texts, but the file's labels are ",
                           task_.labels.size()));
  }

  std::filesystem::path path_;
  int64_t vocab_;
  int64_t most_items_;
  TaskFile task_;
  bool has_header_ = false;
  std::unordered_map<std::string, uint64_t> lines_;  // of the items by id
};

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

std::string TaskFile::where(const TaskItem& item) const { return line_name(file.path, item.line); }

TaskFile read_task_file(const std::filesystem::path& path, int64_t vocab,
                        std::optional<int64_t> most_items) {
  TaskReader reader(path, vocab, most_items.value_or(std::numeric_limits<int64_t>::max()));
  HashedFile file = read_lines(path, kLargestLine, [&](std::string_view line, uint64_t number) {
    reader.take(line, number);
  });
  return reader.finish(std::move(file));
}

}  // namespace kvcalib
