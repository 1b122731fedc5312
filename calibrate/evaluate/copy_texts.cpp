// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/copy_texts.h"

#include <algorithm>

#include "calibrate/data/python_random.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr int64_t kDistances[] = {16, 64, 256, 1016};

class OrdinaryIds {
 public:
  explicit OrdinaryIds(const RandomTextRequest& request)
      : random_(request.seed),
        first_(request.vocab / 16),
        last_(request.vocab - request.vocab / 16 - 1) {
    if (request.vocab >= kSmallestVocab) return;
    throw Error(concat("random texts take a vocabulary of ", kSmallestVocab,
                       " or more; the model's has ", request.vocab));
  }

  int32_t next() { return static_cast<int32_t>(random_.between(first_, last_)); }

  std::vector<int32_t> different(int64_t count) {
    std::vector<int32_t> ids;
    while (static_cast<int64_t>(ids.size()) < count) {
      const int32_t id = next();
      if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
    }
    return ids;
  }

  int64_t below(int64_t count) { return random_.between(0, count - 1); }

 private:
  PythonRandom random_;
  int64_t first_, last_;
};

std::vector<int32_t> beginning(const RandomTextRequest& request) {
  return request.bos ? std::vector<int32_t>{*request.bos} : std::vector<int32_t>{};
}

ScoredTree alone(const TokenItem& item) { return tree_of({&item, 1}); }

TokenItem copy_item(const RandomTextRequest& request, int64_t distance, int64_t number,
                    OrdinaryIds& ids) {
  std::vector<int32_t> text = beginning(request);
  const size_t first = text.size();
  for (int64_t i = 0; i < distance; ++i) text.push_back(ids.next());
  const auto second = static_cast<int64_t>(text.size());
  for (int64_t i = 0; i < distance; ++i) text.push_back(text[first + i]);
  return {concat("copy ", distance, " ", number), "", 0, false, {{std::move(text), second}}};
}

TokenItem recall_item(const RandomTextRequest& request, int64_t number, OrdinaryIds& ids) {
  const std::vector<int32_t> pairs = ids.different(2 * kRecallPairs);  // key, value, key, ...
  const int64_t asked = ids.below(kRecallPairs);
  std::vector<int32_t> context = beginning(request);
  context.insert(context.end(), pairs.begin(), pairs.end());
  context.push_back(pairs[2 * asked]);
  TokenItem item{concat("recall ", number), "", asked, false, {}};
  for (int64_t pair = 0; pair < kRecallPairs; ++pair) {
    item.texts.push_back({context, static_cast<int64_t>(context.size())});
    item.texts.back().ids.push_back(pairs[2 * pair + 1]);
  }
  return item;
}

}  // namespace

std::vector<CopyTexts> copy_texts(const RandomTextRequest& request) {
  std::vector<CopyTexts> copies;
  for (const int64_t distance : kDistances) {
    if (2 * distance + 1 > request.length) break;
    // Of its own numbers, so that they do not depend on what else is asked for.
    OrdinaryIds ids(request);
    CopyTexts& texts = copies.emplace_back(CopyTexts{distance, {}});
    const int64_t count = std::max<int64_t>((request.scored_tokens + distance / 2) / distance, 1);
    for (int64_t i = 0; i < count; ++i)
      texts.trees.push_back(alone(copy_item(request, distance, i, ids)));
  }
  return copies;
}

std::vector<ScoredTree> recall_trees(const RandomTextRequest& request) {
  std::vector<ScoredTree> trees;
  if (2 * kRecallPairs + 3 > request.length) return trees;
  OrdinaryIds ids(request);
  for (int64_t i = 0; i < request.recall_items; ++i)
    trees.push_back(alone(recall_item(request, i, ids)));
  return trees;
}

}  // namespace kvcalib
