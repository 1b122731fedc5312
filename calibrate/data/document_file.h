// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/data/gzip_index.h"
#include "calibrate/data/input_file.h"

namespace kvcalib {

// No document (a line of JSON, a text file) may be larger: SentencePiece takes some 90 bytes of
// memory for each byte of a text.
inline constexpr uint64_t kLargestDocument = uint64_t{64} << 20;

// A file of text documents, read once from end to end and then open to any document.  Holds where
// the documents are, not what they say.
//
// .jsonl and .json: a JSON object with a string 'text' per line (the form of C4), blank lines
// skipped; .txt: one document.  With .gz behind: the same, gzip-compressed.  All UTF-8.
class DocumentFile {
 public:
  // Throws Error naming file and line for what is not of that form, is damaged, or holds no
  // document.
  explicit DocumentFile(const std::filesystem::path& path,
                        uint64_t largest_document = kLargestDocument);

  const HashedFile& file() const { return file_; }
  int64_t documents() const { return static_cast<int64_t>(documents_.size()); }
  // Length of the text in UTF-8.
  uint64_t text_bytes(int64_t document) const { return documents_.at(document).text_bytes; }
  // Reads the document again.  Throws Error when the file is no longer the same.
  std::string text(int64_t document) const;
  // "FILE, line 12", or "FILE" when the file is one document.
  std::string where(int64_t document) const;
  // Host memory that is held.
  size_t memory_bytes() const;

 private:
  class LineScanner;

  struct Document {
    uint64_t offset = 0;  // in the contents
    uint64_t line = 0;    // from 1
    uint32_t bytes = 0;
    uint32_t text_bytes = 0;
  };

  HashedFile file_;
  bool json_;
  std::vector<Document> documents_;
  std::optional<GzipIndex> index_;  // of a compressed file
};

// The form of a data file's name.
enum class DataForm { kUnknown, kTokenIds, kJsonLines, kText };
DataForm form_of(const std::filesystem::path& path);

}  // namespace kvcalib
