// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/verdict.h"

#include <algorithm>
#include <cmath>
#include <iomanip>

#include "calibrate/evaluate/phrases.h"
#include "calibrate/evaluate/significance.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

// What a part says of a stream.
struct Finding {
  enum class Kind {
    kNoLoss,   // beyond noise
    kLoss,     // beyond noise
    kUnknown,  // it could have shown none
  };
  Kind kind = Kind::kNoLoss;
  std::string text;
};
using Kind = Finding::Kind;

constexpr const char* kLossSentence = ": the loss is more than noise";
constexpr const char* kNoLossSentence = ": no loss beyond noise";
constexpr const char* kUnknownSentence = ": not enough to tell";

std::string with_error(const Estimate& estimate, bool with_sign) {
  std::string text =
      concat(std::setprecision(2), with_sign ? std::showpos : std::noshowpos, estimate.value);
  if (std::isfinite(estimate.error)) text += concat(" ± ", std::setprecision(2), estimate.error);
  return text;
}

bool is_worse(const Estimate& change, double probability) {
  return change.value > 0 && probability < kSignificant;
}

bool is_worse(const TextMeasures& text, size_t stream) {
  const Estimate& change = text.streams[stream].log_ratio;
  return is_worse(change, student_test(change, text.windows));
}

bool differs_from_second(const TextMeasures& text, size_t stream) {
  return student_test(text.streams[stream].divergence_excess, text.windows) < kSignificant;
}

// Of a stream behind the second: whether its divergence differs from that one's.
std::string beside_second(const TextMeasures& text, size_t stream, const std::string& second) {
  const Estimate& excess = text.streams[stream].divergence_excess;
  if (!differs_from_second(text, stream)) return "";
  return concat(excess.value > 0 ? ", more than " : ", less than ", second, "'s by ",
                with_error({std::abs(excess.value), excess.error}, false));
}

Finding of_text(const Measured& measured, size_t stream) {
  const TextMeasures& text = *measured.text;
  const StreamMeasures& measures = text.streams[stream];
  if (measures.not_finite > 0)
    return {Kind::kLoss, concat("text: ", measures.not_finite, " of ", text.tokens,
                                " tokens have no finite probability")};
  if (measures.divergence.value == 0 && measures.log_ratio.value == 0)
    return {Kind::kNoLoss, "text: no token's probability changes"};
  const double probability = student_test(measures.log_ratio, text.windows);
  const bool is_better = measures.log_ratio.value < 0 && probability < kSignificant;
  const bool is_worse_itself = is_worse(measures.log_ratio, probability);
  // Divergence shows more than perplexity: who diverges more than one that is worse, is worse.
  const bool exceeds_worse = stream > 1 && is_worse(text, 1) && differs_from_second(text, stream) &&
                             measures.divergence_excess.value > 0;
  const Kind kind = is_worse_itself || exceeds_worse ? Kind::kLoss
                    : std::isnan(probability)        ? Kind::kUnknown
                                                     : Kind::kNoLoss;
  std::string judged = is_worse_itself           ? "worse than noise explains"
                       : exceeds_worse           ? concat("as bad as ", measured.streams[1].name)
                       : is_better               ? "better, oddly"
                       : std::isnan(probability) ? "too little text to tell"
                                                 : "no loss of perplexity beyond noise";
  return {kind, concat("text: ", judged, " (ln PPL ratio ", with_error(measures.log_ratio, true),
                       ", KLD ", with_error(measures.divergence, false),
                       beside_second(text, stream, measured.streams[1].name), ")")};
}

Finding of_copy(const std::vector<CopyDistance>& copy, int64_t vocab, size_t stream) {
  std::vector<const CopyDistance*> able;
  std::vector<double> probabilities;
  bool can_tell = false;
  for (const CopyDistance& distance : copy) {
    const StreamMeasures& measures = distance.measures.streams[stream];
    if (measures.not_finite > 0)
      return {Kind::kLoss, concat("copying: ", measures.not_finite, " tokens at distance ",
                                  distance.distance, " have no finite probability")};
    if (cannot_copy(distance, vocab)) continue;
    able.push_back(&distance);
    const double probability = student_test(measures.log_ratio, distance.measures.windows);
    can_tell = can_tell || !std::isnan(probability);
    probabilities.push_back(std::isnan(probability) ? 1 : probability);
  }
  if (able.empty()) return {Kind::kUnknown, "copying: this model cannot copy"};
  if (!can_tell) return {Kind::kUnknown, "copying: too few texts to tell"};
  const std::vector<double> corrected = holm(probabilities);
  std::vector<std::string> worse;
  for (size_t i = 0; i < able.size(); ++i) {
    const Estimate& change = able[i]->measures.streams[stream].log_ratio;
    if (is_worse(change, corrected[i]))
      worse.push_back(concat(with_error(change, true), " nats at distance ", able[i]->distance));
  }
  if (worse.empty()) return {Kind::kNoLoss, "copying: no loss beyond noise"};
  return {Kind::kLoss, concat("copying: worse than noise explains (", listed(worse), ")")};
}

// Of tasks, or of recall, which is scored as they are.
Finding of_tasks(const char* name, const std::vector<TaskScore>& tasks, const std::string& base,
                 size_t stream) {
  const TaskTotals total = totals(tasks)[stream];
  std::vector<std::string> lost, gained;
  for (const TaskScore& task : tasks) {
    const StreamScore& score = task.streams[stream];
    if (!(score.corrected_p < kSignificant)) continue;
    (score.lost > score.gained ? lost : gained)
        .push_back(
            concat(task.task, " ", std::setprecision(2), std::showpos, score.difference.value));
  }
  const std::string chance =
      concat(total.significant, " of ", total.rows, total.rows == 1 ? " row" : " rows",
             " below 0.05, ", std::setprecision(2), total.expected, " expected by chance");
  std::string text = concat(name, lost.empty() ? ": no loss beyond noise" : ": lost in ");
  if (!lost.empty()) text += listed(lost) + " points";
  if (!gained.empty()) text += concat(", gained in ", listed(gained), " points");
  text += concat(" (", chance, ")");
  const bool at_chance = are_at_chance(tasks);
  if (at_chance)
    text += concat(", but this model is at chance: ", base,
                   " is no better than the best constant answer");
  return {!lost.empty() ? Kind::kLoss : at_chance ? Kind::kUnknown : Kind::kNoLoss, text};
}

std::string sentence_of(const Measured& measured, size_t stream) {
  std::vector<Finding> findings;
  if (measured.text) findings.push_back(of_text(measured, stream));
  if (!measured.copy.empty()) findings.push_back(of_copy(measured.copy, measured.vocab, stream));
  const std::string& base = measured.streams.front().name;
  if (!measured.recall.empty())
    findings.push_back(of_tasks("recall", measured.recall, base, stream));
  if (!measured.tasks.empty()) findings.push_back(of_tasks("tasks", measured.tasks, base, stream));
  const auto has = [&findings](Kind kind) {
    return std::any_of(findings.begin(), findings.end(),
                       [kind](const Finding& finding) { return finding.kind == kind; });
  };
  std::string text = concat(measured.streams[stream].name, has(Kind::kLoss)     ? kLossSentence
                                                           : has(Kind::kNoLoss) ? kNoLossSentence
                                                                                : kUnknownSentence);
  for (size_t i = 0; i < findings.size(); ++i) text += (i == 0 ? ": " : "; ") + findings[i].text;
  for (const ProfiledStream& profile : measured.profiles)
    if (profile.stream == stream && !profile.findings.empty())
      text += concat("; stands out: ", profile.findings.front());
  return text;
}

// Of what is generated, none is right often.
double constant_of(const TaskScore& task) { return task.is_generated ? 0 : task.baseline; }

double constant_error(const TaskScore& task) {
  const double share = constant_of(task) / 100;
  return 100 * std::sqrt(share * (1 - share) / static_cast<double>(task.items));
}

}  // namespace

bool are_at_chance(std::span<const TaskScore> tasks) {
  bool any = false;
  for (const TaskScore& task : tasks) {
    if ((!task.is_generated && task.has_one_gold_label()) || task.streams.empty()) continue;
    any = true;
    const Estimate& score = task.streams.front().score;
    const double error = std::fmax(score.error, constant_error(task));
    if (score.value > constant_of(task) + 2 * error) return false;
  }
  return any;
}

std::vector<std::string> verdict(const Measured& measured) {
  std::vector<std::string> sentences;
  if (measured.is_control_zero == false)
    sentences.emplace_back(
        "the control is not zero: a stream that changes nothing differs from the first, so no "
        "figure here can be trusted");
  for (size_t stream = 1; stream < measured.streams.size(); ++stream)
    sentences.push_back(sentence_of(measured, stream));
  return sentences;
}

}  // namespace kvcalib
