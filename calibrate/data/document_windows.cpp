// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/document_windows.h"

#include <algorithm>
#include <numeric>

#include "calibrate/data/python_random.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

// Draws in vain before it is made sure that there is anything to find.
constexpr int64_t kPatience = 1000;

// Appends `count` tokens of a document from the one at `first` on.
void take(Corpus& corpus, int64_t document, int64_t first, int64_t count, int64_t vocab,
          std::vector<int32_t>& ids) {
  const std::vector<int32_t>& tokens = corpus.tokens(document);
  const auto begin = tokens.begin() + first;
  const auto outside =
      std::find_if(begin, begin + count, [&](int32_t id) { return id < 0 || id >= vocab; });
  if (outside != begin + count) {
    throw Error(concat(corpus.where(document), ": token ", outside - tokens.begin(), " is id ",
                       *outside, " ('", corpus.tokenizer().piece(*outside), "') of ",
                       corpus.tokenizer().model().string(), ", but the model's vocabulary has ",
                       vocab, "; is this the model's tokenizer? Name it with --tokenizer"));
  }
  ids.insert(ids.end(), begin, begin + count);
}

// The documents of a corpus that fill a window, found one by one.
class LongDocuments {
 public:
  LongDocuments(Corpus& corpus, int64_t length)
      : corpus_(corpus), length_(length), counts_(corpus.documents(), kUnknown) {}

  // Draws documents until one is long enough.
  int64_t draw(PythonRandom& random) {
    for (int64_t misses = 0;; ++misses) {
      if (misses == kPatience && longest_ < length_) make_sure_of_one();
      const int64_t document = random.between(0, corpus_.documents() - 1);
      if (is_long(document)) return document;
    }
  }

  int64_t tokens(int64_t document) const { return counts_[document]; }

 private:
  static constexpr int32_t kUnknown = -1;

  bool can_be_long(int64_t document) const {
    const uint64_t most = corpus_.tokenizer().most_tokens(corpus_.text_bytes(document));
    return most >= static_cast<uint64_t>(length_);
  }

  void count(int64_t document) {
    counts_[document] = static_cast<int32_t>(corpus_.tokens(document).size());
    longest_ = std::max<int64_t>(longest_, counts_[document]);
  }

  bool is_long(int64_t document) {
    if (counts_[document] == kUnknown && can_be_long(document)) count(document);
    return counts_[document] >= length_;
  }

  void make_sure_of_one() {
    std::vector<int64_t> order(corpus_.documents());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t left, int64_t right) {
      return corpus_.text_bytes(left) > corpus_.text_bytes(right);
    });
    for (const int64_t document : order) {
      if (is_long(document)) return;
    }
    if (longest_ == 0) count(order.front());
    const std::string shorter =
        longest_ > 0 ? concat("use --length ", longest_, " or less, ") : std::string("use ");
    throw Error(concat("--data: none of the ", corpus_.documents(), " documents has ", length_,
                       " tokens (--length); the longest found has ", longest_, "; ", shorter,
                       "--pack to join documents, or more data"));
  }

  Corpus& corpus_;
  int64_t length_;
  int64_t longest_ = 0;
  std::vector<int32_t> counts_;  // of each document's tokens, once known
};

}  // namespace

std::vector<int32_t> draw_long_documents(Corpus& corpus, const WindowRequest& request,
                                         int64_t vocab) {
  PythonRandom random(request.seed);
  LongDocuments documents(corpus, request.length);
  std::vector<int32_t> ids;
  for (int64_t sample = 0; sample < request.samples; ++sample) {
    const int64_t document = documents.draw(random);
    const int64_t start = random.between(0, documents.tokens(document) - request.length);
    take(corpus, document, start, request.length, vocab, ids);
  }
  return ids;
}

std::vector<int32_t> pack_documents(Corpus& corpus, const WindowRequest& request, int64_t vocab) {
  PythonRandom random(request.seed);
  std::vector<int64_t> order(corpus.documents());
  std::iota(order.begin(), order.end(), 0);
  random.shuffle(std::span(order));
  const int64_t wanted = request.samples * request.length;
  std::vector<int32_t> ids;
  for (const int64_t document : order) {
    const auto tokens = static_cast<int64_t>(corpus.tokens(document).size());
    const int64_t missing = wanted - static_cast<int64_t>(ids.size());
    take(corpus, document, 0, std::min(tokens, missing), vocab, ids);
    if (static_cast<int64_t>(ids.size()) == wanted) return ids;
  }
  throw Error(concat("--data: the ", corpus.documents(), " documents hold ", ids.size(),
                     " tokens, enough for ", static_cast<int64_t>(ids.size()) / request.length,
                     " windows of ", request.length, ", not for ", request.samples,
                     "; use fewer --samples, a shorter --length or more data"));
}

}  // namespace kvcalib
