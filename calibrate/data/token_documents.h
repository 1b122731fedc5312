// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "calibrate/data/documents.h"
#include "calibrate/data/token_files.h"

namespace kvcalib {

// NAME.offsets.npy beside NAME.npy: where the documents in a stream of ids begin.
std::filesystem::path offsets_of(const std::filesystem::path& ids);

// Whether `file` is one of these by its name, and the ids that it belongs to are beside it.
bool are_offsets(const std::filesystem::path& file);

// The documents of streams of token ids, one file after the other, as scripts/tokenize_text.py
// writes them: beside each file of ids the position of each document's first id, and the end.
class TokenDocuments : public Documents {
 public:
  // Throws Error naming the offsets as NpyReader does, and for such as are not these positions.
  explicit TokenDocuments(TokenFiles files);

  int64_t count() const override { return static_cast<int64_t>(starts_.size()) - 1; }
  uint64_t size(int64_t document) const override;
  uint64_t most_tokens(uint64_t size) const override { return size; }
  int64_t tokens(int64_t document) override { return static_cast<int64_t>(size(document)); }
  void take(int64_t document, int64_t first, int64_t count, int64_t vocab,
            std::vector<int32_t>& ids) override;

 private:
  TokenFiles files_;
  std::vector<int64_t> starts_;  // of each document in all files' ids, and the end
};

}  // namespace kvcalib
