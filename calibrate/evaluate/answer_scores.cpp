// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/answer_scores.h"

#include <algorithm>

#include "calibrate/evaluate/percentiles.h"

namespace kvcalib {
namespace {

// Lost answers first, gained ones next.
int order_of(const AnswerPair& pair) {
  if (pair.first.right == pair.other.right) return 2;
  return pair.first.right ? 0 : 1;
}

}  // namespace

int64_t AnswerPair::parts_at() const {
  return std::ranges::mismatch(first.ids, other.ids).in1 - first.ids.begin();
}

AnswerAgreement agreement_of(std::span<const AnswerPair> pairs) {
  AnswerAgreement agreement;
  if (pairs.empty()) return agreement;
  std::vector<double> places;
  std::vector<const AnswerPair*> parted;
  for (const AnswerPair& pair : pairs) {
    if (!pair.is_parted()) continue;
    parted.push_back(&pair);
    places.push_back(static_cast<double>(pair.parts_at()));
  }
  const size_t equal = pairs.size() - parted.size();
  agreement.equal = 100 * static_cast<double>(equal) / static_cast<double>(pairs.size());
  agreement.parts_at = median(std::move(places));
  std::ranges::stable_sort(parted, {}, [](const AnswerPair* pair) { return order_of(*pair); });
  parted.resize(std::min(parted.size(), kPairsShown));
  for (const AnswerPair* pair : parted) agreement.shown.push_back(*pair);
  return agreement;
}

}  // namespace kvcalib
