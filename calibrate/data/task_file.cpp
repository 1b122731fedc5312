// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/task_file.h"

#include <limits>
#include <unordered_map>

#include "calibrate/data/line_file.h"
#include "sharding/files/error.h"
#include "sharding/files/excerpt.h"

namespace kvcalib {
namespace {

constexpr uint64_t kLargestLine = uint64_t{64} << 20;

std::string line_name(const std::filesystem::path& file, uint64_t line) {
  return concat(file.string(), ", line ", line);
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
      static_cast<TaskHeader&>(task_) = read_task_header(object, vocab_);
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
    TaskItem item = read_task_item(object, task_, vocab_);
    item.line = number;
    if (!task_.items.empty() && item.holds_ids() != task_.holds_ids())
      object.refuse("texts and ids are mixed; expected all items to have the same");
    const auto [other, is_new] = lines_.emplace(item.id, number);
    if (!is_new)
      object.refuse(concat("the id '", excerpt(item.id), "' is that of line ", other->second));
    task_.items.push_back(std::move(item));
  }

  std::filesystem::path path_;
  int64_t vocab_;
  int64_t most_items_;
  TaskFile task_;
  bool has_header_ = false;
  std::unordered_map<std::string, uint64_t> lines_;  // of the items by id
};

}  // namespace

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
