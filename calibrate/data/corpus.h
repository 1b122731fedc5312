// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <unordered_map>
#include <vector>

#include "calibrate/data/document_file.h"
#include "calibrate/data/tokenizer.h"

namespace kvcalib {

// The documents of all text files, one file after the other, as token ids.  Documents are read and
// cut when they are asked for.
class Corpus {
 public:
  // `tokenizer` must outlive the corpus.  Throws Error as DocumentFile does.
  Corpus(const std::vector<std::filesystem::path>& files, const Tokenizer& tokenizer);

  int64_t documents() const { return starts_.back(); }
  const std::vector<DocumentFile>& files() const { return files_; }
  uint64_t text_bytes(int64_t document) const;
  // "FILE, line 12".
  std::string where(int64_t document) const;
  // BOS and the text.  Valid until the next call.
  const std::vector<int32_t>& tokens(int64_t document);
  const Tokenizer& tokenizer() const { return tokenizer_; }

 private:
  struct Place {
    const DocumentFile& file;
    int64_t document;
  };
  Place place_of(int64_t document) const;

  const Tokenizer& tokenizer_;
  std::vector<DocumentFile> files_;
  std::vector<int64_t> starts_;  // number of each file's first document, and of all documents
  std::unordered_map<int64_t, std::vector<int32_t>> remembered_;
  size_t remembered_tokens_ = 0;
};

}  // namespace kvcalib
