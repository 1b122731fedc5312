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

// The documents that fill a window, found one by one.
class LongDocuments {
 public:
  LongDocuments(Documents& documents, int64_t length)
      : documents_(documents), length_(length), counts_(documents.count(), kUnknown) {}

  // Draws documents until one is long enough.
  int64_t draw(PythonRandom& random) {
    for (int64_t misses = 0;; ++misses) {
      if (misses == kPatience && longest_ < length_) make_sure_of_one();
      const int64_t document = random.between(0, documents_.count() - 1);
      if (is_long(document)) return document;
    }
  }

  int64_t tokens(int64_t document) const { return counts_[document]; }

 private:
  static constexpr int64_t kUnknown = -1;

  bool can_be_long(int64_t document) const {
    return documents_.most_tokens(documents_.size(document)) >= static_cast<uint64_t>(length_);
  }

  void count(int64_t document) {
    counts_[document] = documents_.tokens(document);
    longest_ = std::max(longest_, counts_[document]);
  }

  bool is_long(int64_t document) {
    if (counts_[document] == kUnknown && can_be_long(document)) count(document);
    return counts_[document] >= length_;
  }

  void make_sure_of_one() {
    std::vector<int64_t> order(documents_.count());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t left, int64_t right) {
      return documents_.size(left) > documents_.size(right);
    });
    for (const int64_t document : order) {
      if (is_long(document)) return;
    }
    if (longest_ == 0) count(order.front());
    const std::string shorter =
        longest_ > 0 ? concat("use --length ", longest_, " or less, ") : std::string("use ");
    throw Error(concat("--data: none of the ", documents_.count(), " documents has ", length_,
                       " tokens (--length); the longest found has ", longest_, "; ", shorter,
                       "--pack to join documents, or more data"));
  }

  Documents& documents_;
  int64_t length_;
  int64_t longest_ = 0;
  std::vector<int64_t> counts_;  // of each document's tokens, once known
};

}  // namespace

std::vector<int32_t> draw_long_documents(Documents& documents, const WindowRequest& request,
                                         int64_t vocab) {
  PythonRandom random(request.seed);
  LongDocuments long_documents(documents, request.length);
  std::vector<int32_t> ids;
  for (int64_t sample = 0; sample < request.samples; ++sample) {
    const int64_t document = long_documents.draw(random);
    const int64_t start = random.between(0, long_documents.tokens(document) - request.length);
    documents.take(document, start, request.length, vocab, ids);
  }
  return ids;
}

std::vector<int32_t> pack_documents(Documents& documents, const WindowRequest& request,
                                    int64_t vocab) {
  PythonRandom random(request.seed);
  std::vector<int64_t> order(documents.count());
  std::iota(order.begin(), order.end(), 0);
  random.shuffle(std::span(order));
  const int64_t wanted = request.samples * request.length;
  std::vector<int32_t> ids;
  for (const int64_t document : order) {
    const int64_t missing = wanted - static_cast<int64_t>(ids.size());
    documents.take(document, 0, std::min(documents.tokens(document), missing), vocab, ids);
    if (static_cast<int64_t>(ids.size()) == wanted) return ids;
  }
  throw Error(concat("--data: the ", documents.count(), " documents hold ", ids.size(),
                     " tokens, enough for ", static_cast<int64_t>(ids.size()) / request.length,
                     " windows of ", request.length, ", not for ", request.samples,
                     "; use fewer --samples, a shorter --length or more data"));
}

}  // namespace kvcalib
