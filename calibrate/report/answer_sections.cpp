// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/answer_sections.h"

#include <algorithm>
#include <string>
#include <utility>

#include "calibrate/evaluate/unicode_classes.h"
#include "calibrate/report/figures.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

// Characters of a text that are shown, and how many of these lie before the place where it parts.
constexpr size_t kShown = 36, kShownBefore = 14;

// What moves the cursor or turns the line's direction.
bool is_control(char32_t point) {
  return point < 0x20 || (0x7F <= point && point < 0xA0) || (0x2028 <= point && point <= 0x202E) ||
         (0x2066 <= point && point <= 0x2069);
}

// Some characters from `first` on, in one line.
std::string one_line(std::u32string_view text, size_t first) {
  std::string line = first > 0 ? "…" : "";
  for (const char32_t point : text.substr(std::min(first, text.size()), kShown)) {
    if (point == U'\n')
      line += "\\n";
    else
      line += is_control(point) ? " " : utf8_of({&point, 1});
  }
  return text.size() > first + kShown ? line + "…" : line;
}

// Both texts from a little before the place where they part.
std::pair<std::string, std::string> where_parted(const AnswerPair& pair) {
  const std::u32string first = code_points(pair.first.text), other = code_points(pair.other.text);
  const auto parting = std::ranges::mismatch(first, other).in1 - first.begin();
  const size_t begin = static_cast<size_t>(parting) - std::min<size_t>(parting, kShownBefore);
  return {one_line(first, begin), one_line(other, begin)};
}

const char* outcome_of(const AnswerPair& pair) {
  if (pair.first.right != pair.other.right) return pair.other.right ? "gained" : "lost";
  return pair.other.right ? "right" : "wrong";
}

std::vector<std::string> joined(std::vector<std::string> first, bool with_second,
                                const std::string& second, const std::vector<std::string>& third) {
  if (with_second) first.push_back(second);
  first.insert(first.end(), third.begin(), third.end());
  return first;
}

template <typename Visit>
void for_each_agreement(const Measured& measured, Visit&& visit) {
  for (const TaskScore& task : measured.tasks)
    for (size_t s = 1; s < task.streams.size(); ++s)
      if (task.streams[s].agreement) visit(task, s, *task.streams[s].agreement);
}

Section agreements(const Measured& measured) {
  const bool names_streams = measured.streams.size() > 2;
  Section section;
  section.title = "Answers";
  section.table.text_columns = names_streams ? 2 : 1;
  section.table.header = joined({"task"}, names_streams, "stream", {"equal %", "parts at"});
  for_each_agreement(
      measured, [&](const TaskScore& task, size_t stream, const AnswerAgreement& agreement) {
        section.table.rows.push_back(
            joined({stream > 1 ? "" : task.task}, names_streams, measured.streams[stream].name,
                   {decimals(agreement.equal, 2), significant(agreement.parts_at)}));
      });
  section.lines = {concat("equal: generated texts that are the same as those of ",
                          measured.streams.front().name, " to the letter;"),
                   "parts at: the median of the first token, from 0, in which the others differ"};
  return section;
}

Section parted(const Measured& measured) {
  const bool names_streams = measured.streams.size() > 2;
  Section section;
  section.table.text_columns = names_streams ? 6 : 5;
  section.table.header =
      joined({"task", "item"}, names_streams, "stream",
             {"answer", measured.streams.front().name,
              names_streams ? std::string("text") : measured.streams.back().name, "at"});
  for_each_agreement(
      measured, [&](const TaskScore& task, size_t stream, const AnswerAgreement& agreement) {
        for (const AnswerPair& pair : agreement.shown) {
          auto [first, other] = where_parted(pair);
          section.table.rows.push_back(joined(
              {task.task, one_line(code_points(pair.id), 0)}, names_streams,
              measured.streams[stream].name,
              {outcome_of(pair), std::move(first), std::move(other), concat(pair.parts_at())}));
        }
      });
  section.lines = {
      concat("some that part, from shortly before: lost, gained, or right or wrong as ",
             measured.streams.front().name, "'s; at: the first token that differs")};
  return section;
}

}  // namespace

std::vector<Section> answer_sections(const Measured& measured) {
  std::vector<Section> sections = {agreements(measured), parted(measured)};
  if (sections.back().table.rows.empty()) sections.pop_back();
  if (sections.front().table.rows.empty()) sections.clear();
  return sections;
}

}  // namespace kvcalib
