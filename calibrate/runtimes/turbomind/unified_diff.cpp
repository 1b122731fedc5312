// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/unified_diff.h"

#include <algorithm>
#include <vector>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr size_t kContext = 3;

// A line of the diff: ' ' in both texts, '-' in the old, '+' in the new.
struct Edit {
  char kind;
  std::string_view line;  // with its "\n", if it has one
};

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t newline = text.find('\n');
    const size_t size = newline == std::string_view::npos ? text.size() : newline + 1;
    lines.push_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return lines;
}

// The shortest edit script by Myers' greedy algorithm (An O(ND) Difference Algorithm, 1986).
class ShortestEdit {
 public:
  ShortestEdit(const std::vector<std::string_view>& old_lines,
               const std::vector<std::string_view>& new_lines)
      : old_(old_lines), new_(new_lines) {}

  std::vector<Edit> script() {
    const auto old_size = static_cast<int64_t>(old_.size());
    const auto new_size = static_cast<int64_t>(new_.size());
    std::vector<int64_t> reach(2 * (old_.size() + new_.size()) + 3, 0);
    const int64_t middle = old_size + new_size + 1;
    for (int64_t edits = 0;; ++edits) {
      for (int64_t diagonal = -edits; diagonal <= edits; diagonal += 2) {
        int64_t& at = reach[static_cast<size_t>(middle + diagonal)];
        at = step(reach, middle, edits, diagonal);
        while (at < old_size && at - diagonal < new_size && same(at, at - diagonal)) ++at;
        if (at >= old_size && at - diagonal >= new_size) return walk_back(edits);
      }
      // Only diagonals -edits to edits were reached: keep those.
      history_.emplace_back(reach.begin() + (middle - edits - 1),
                            reach.begin() + (middle + edits + 2));
    }
  }

 private:
  bool same(int64_t old_line, int64_t new_line) const {
    return old_[static_cast<size_t>(old_line)] == new_[static_cast<size_t>(new_line)];
  }

  static bool goes_down(const std::vector<int64_t>& reach, int64_t middle, int64_t edits,
                        int64_t diagonal) {
    return diagonal == -edits ||
           (diagonal != edits && reach[static_cast<size_t>(middle + diagonal - 1)] <
                                     reach[static_cast<size_t>(middle + diagonal + 1)]);
  }

  // Where the next edit on `diagonal` lands: an insertion from above or a deletion from the left.
  static int64_t step(const std::vector<int64_t>& reach, int64_t middle, int64_t edits,
                      int64_t diagonal) {
    if (edits == 0) return 0;
    return goes_down(reach, middle, edits, diagonal)
               ? reach[static_cast<size_t>(middle + diagonal + 1)]
               : reach[static_cast<size_t>(middle + diagonal - 1)] + 1;
  }

  std::vector<Edit> walk_back(int64_t edits) const {
    std::vector<Edit> script;
    auto x = static_cast<int64_t>(old_.size());
    auto y = static_cast<int64_t>(new_.size());
    const auto keep_until = [&](int64_t until_x) {
      while (x > until_x) {
        script.push_back({' ', old_[static_cast<size_t>(--x)]});
        --y;
      }
    };
    for (; edits > 0; --edits) {
      const std::vector<int64_t>& reach = history_[static_cast<size_t>(edits - 1)];
      const int64_t middle = edits;  // of history_[edits - 1]
      const int64_t diagonal = x - y;
      keep_until(step(reach, middle, edits, diagonal));
      if (goes_down(reach, middle, edits, diagonal)) {
        script.push_back({'+', new_[static_cast<size_t>(--y)]});
      } else {
        script.push_back({'-', old_[static_cast<size_t>(--x)]});
      }
    }
    keep_until(0);
    std::reverse(script.begin(), script.end());
    return script;
  }

  const std::vector<std::string_view>& old_;
  const std::vector<std::string_view>& new_;
  std::vector<std::vector<int64_t>> history_;
};

// "12,7" or "12" for one line; of no lines the line before is named.
std::string span_text(size_t first, size_t count) {
  if (count == 1) return concat(first + 1);
  return concat(count == 0 ? first : first + 1, ',', count);
}

// Edits [begin, end) as one hunk; `old_line` and `new_line` count the lines before it.
std::string hunk(const std::vector<Edit>& script, size_t begin, size_t end, size_t old_line,
                 size_t new_line) {
  size_t old_count = 0, new_count = 0;
  std::string body;
  for (size_t i = begin; i < end; ++i) {
    old_count += script[i].kind != '+';
    new_count += script[i].kind != '-';
    body += script[i].kind;
    body += script[i].line;
    if (!script[i].line.ends_with('\n')) body += "\n\\ No newline at end of file\n";
  }
  return concat("@@ -", span_text(old_line, old_count), " +", span_text(new_line, new_count),
                " @@\n", body);
}

}  // namespace

std::string unified_diff(std::string_view old_text, std::string_view new_text,
                         std::string_view old_name, std::string_view new_name) {
  if (old_text == new_text) return "";
  const std::vector<std::string_view> old_lines = split_lines(old_text);
  const std::vector<std::string_view> new_lines = split_lines(new_text);
  const std::vector<Edit> script = ShortestEdit(old_lines, new_lines).script();

  std::string diff = concat("--- ", old_name, "\n+++ ", new_name, '\n');
  size_t old_line = 0, new_line = 0;
  for (size_t at = 0; at < script.size();) {
    const auto changed = [&](size_t i) { return script[i].kind != ' '; };
    size_t change = at;
    while (change < script.size() && !changed(change)) ++change;
    if (change == script.size()) break;
    const size_t begin = std::max(at, change > kContext ? change - kContext : 0);
    size_t end = change;  // behind the last change of the hunk
    for (size_t i = change; i < script.size() && i < end + 2 * kContext + 1; ++i) {
      if (changed(i)) end = i + 1;
    }
    end = std::min(end + kContext, script.size());
    old_line += begin - at;
    new_line += begin - at;
    diff += hunk(script, begin, end, old_line, new_line);
    for (at = begin; at < end; ++at) {
      old_line += script[at].kind != '+';
      new_line += script[at].kind != '-';
    }
  }
  return diff;
}

}  // namespace kvcalib
