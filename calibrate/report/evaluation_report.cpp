// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/evaluation_report.h"

#include <limits>
#include <utility>

#include "calibrate/report/answer_sections.h"
#include "calibrate/report/divergence_sections.h"
#include "calibrate/report/layer_sections.h"
#include "calibrate/report/task_sections.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr size_t kWidth = 110;  // columns of sentences
constexpr size_t kLayerRowsShown = 64;

Section head(const Evaluation& evaluation) {
  Section section;
  section.table.header = {"stream", "what its cache holds"};
  section.table.text_columns = 2;
  for (const StreamInfo& stream : evaluation.measured.streams)
    section.table.rows.push_back({stream.name, stream.description});
  if (const auto& control = evaluation.measured.is_control_zero)
    section.lines.emplace_back(
        *control ? "control: a stream that changes nothing gives zeros everywhere, to the bit"
                 : "control: NOT ZERO: a stream that changes nothing differs from the first");
  return section;
}

std::vector<Section> sections_of(const Evaluation& evaluation, size_t most_layer_rows) {
  const Measured& measured = evaluation.measured;
  std::vector<Section> sections = {head(evaluation)};
  for (const std::vector<Section>& part :
       {text_sections(measured), copy_sections(measured), recall_sections(measured),
        task_sections(measured), answer_sections(measured),
        layer_sections(measured, most_layer_rows)})
    sections.insert(sections.end(), part.begin(), part.end());
  return sections;
}

// "of up to 2048 tokens, at most 48 of a kind: prose.jsonl, RTE.jsonl"
std::string texts_in_words(const Evaluation& evaluation) {
  std::string text = concat("of up to ", evaluation.length, " tokens");
  if (evaluation.limit) text += concat(", at most ", *evaluation.limit, " of a kind");
  const char* before = ": ";
  for (const DataFile& file : evaluation.data) text += std::exchange(before, ", ") + file.path;
  return evaluation.data.empty() ? text + ", random" : text;
}

}  // namespace

std::string format_evaluation(const Evaluation& evaluation) {
  std::string text = concat("model    ", evaluation.model, "\nruntime  ", evaluation.runtime, "\n");
  if (evaluation.length > 0)
    text += wrapped(concat("texts    ", texts_in_words(evaluation)), kWidth);
  for (const Section& section : sections_of(evaluation, kLayerRowsShown)) {
    text += "\n";
    if (!section.title.empty()) text += section.title + "\n";
    if (!section.table.header.empty()) text += text_table(section.table);
    for (const std::string& line : section.lines) text += wrapped(line, kWidth);
  }
  text += "\n";
  for (const std::string& note : evaluation.notes) text += wrapped("note: " + note, kWidth);
  for (const std::string& sentence : evaluation.verdict)
    text += wrapped("verdict: " + sentence, kWidth);
  return text;
}

std::string evaluation_markdown(const Evaluation& evaluation) {
  std::string text = "# What the KV cache's format costs\n\n";
  text += concat("- Model: ", evaluation.model, "\n- Runtime: ", evaluation.runtime, "\n");
  if (evaluation.length > 0) text += concat("- Texts: ", texts_in_words(evaluation), "\n");
  for (const std::string& sentence : evaluation.verdict)
    text += concat("- **Verdict**: ", sentence, "\n");
  if (evaluation.failed_gates && evaluation.failed_gates->empty()) text += "- Gates: kept\n";
  for (const std::string& gate : evaluation.failed_gates.value_or(std::vector<std::string>()))
    text += concat("- **Gate not kept**: ", gate, "\n");
  for (const std::string& note : evaluation.notes) text += concat("- Note: ", note, "\n");
  for (const Section& section : sections_of(evaluation, std::numeric_limits<size_t>::max())) {
    if (!section.title.empty()) text += concat("\n## ", section.title, "\n");
    if (!section.table.header.empty()) text += "\n" + markdown_table(section.table);
    if (!section.lines.empty()) text += "\n";
    for (const std::string& line : section.lines) text += concat("- ", line, "\n");
  }
  return text;
}

}  // namespace kvcalib
