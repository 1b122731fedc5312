// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

namespace kvcalib {

// Documents as token ids, from which windows are drawn.
class Documents {
 public:
  Documents() = default;
  Documents(const Documents&) = delete;
  Documents& operator=(const Documents&) = delete;
  virtual ~Documents() = default;

  virtual int64_t count() const = 0;
  // How large a document is, in a measure that they share and that costs nothing: most likely the
  // order of their tokens.
  virtual uint64_t size(int64_t document) const = 0;
  // No document of `size` has more tokens.
  virtual uint64_t most_tokens(uint64_t size) const = 0;
  virtual int64_t tokens(int64_t document) = 0;
  // Appends `count` tokens of a document from the one at `first` on.  Throws Error naming file and
  // place for an id outside [0, vocab).
  virtual void take(int64_t document, int64_t first, int64_t count, int64_t vocab,
                    std::vector<int32_t>& ids) = 0;
};

}  // namespace kvcalib
