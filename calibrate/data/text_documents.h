// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <unordered_map>
#include <vector>

#include "calibrate/data/document_file.h"
#include "calibrate/data/documents.h"
#include "calibrate/data/tokenizer.h"

namespace kvcalib {

// The documents of all text files, one file after the other: BOS and the text.  Documents are read
// and cut when they are asked for.
class TextDocuments : public Documents {
 public:
  // `tokenizer` must outlive the documents.  Throws Error as DocumentFile does.
  TextDocuments(const std::vector<std::filesystem::path>& files, const Tokenizer& tokenizer);

  const std::vector<DocumentFile>& files() const { return files_; }

  int64_t count() const override { return starts_.back(); }
  uint64_t size(int64_t document) const override;
  uint64_t most_tokens(uint64_t size) const override { return tokenizer_.most_tokens(size); }
  int64_t tokens(int64_t document) override;
  void take(int64_t document, int64_t first, int64_t count, int64_t vocab,
            std::vector<int32_t>& ids) override;

 private:
  struct Place {
    const DocumentFile& file;
    int64_t document;
  };
  Place place_of(int64_t document) const;
  // Valid until the next call.
  const std::vector<int32_t>& cut(int64_t document);

  const Tokenizer& tokenizer_;
  std::vector<DocumentFile> files_;
  std::vector<int64_t> starts_;  // number of each file's first document, and of all documents
  std::unordered_map<int64_t, std::vector<int32_t>> remembered_;
  size_t remembered_tokens_ = 0;
};

}  // namespace kvcalib
