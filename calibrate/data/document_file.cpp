// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/document_file.h"

#include <algorithm>

#include "calibrate/data/json_text.h"
#include "sharding/files/error.h"
#include "sharding/files/utf8.h"

namespace kvcalib {
namespace {

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

std::string line_name(const std::string& file, uint64_t line) {
  return concat(file, ", line ", line);
}

}  // namespace

// Cuts contents that arrive in pieces into lines and records the documents among them.
class DocumentFile::LineScanner {
 public:
  LineScanner(std::string name, bool json, uint64_t largest, std::vector<Document>& documents)
      : name_(std::move(name)), json_(json), largest_(largest), documents_(documents) {}

  void feed(std::string_view bytes) {
    for (size_t end = bytes.find('\n'); end != std::string_view::npos; end = bytes.find('\n')) {
      extend(bytes.substr(0, end + 1));
      end_line();
      bytes.remove_prefix(end + 1);
    }
    extend(bytes);
  }

  void finish() {
    if (!line_.empty()) end_line();
    if (json_) return;
    documents_.push_back({0, 1, static_cast<uint32_t>(offset_), static_cast<uint32_t>(offset_)});
  }

 private:
  void extend(std::string_view bytes) {
    line_ += bytes;
    const uint64_t document = json_ ? line_.size() : offset_ + line_.size();
    if (document <= largest_) return;
    throw Error(concat(json_ ? line_name(name_, line_number_) : name_,
                       ": is a document of more than ", largest_,
                       " bytes; cut it into JSON lines (.jsonl), one {\"text\": \"...\"} "
                       "for each part"));
  }

  void end_line() {
    const std::string_view line =
        std::string_view(line_).substr(0, line_.size() - (line_.back() == '\n' ? 1 : 0));
    const std::string where = line_name(name_, line_number_);
    if (!json_) {
      const size_t invalid = first_invalid_utf8(line);
      if (invalid < line.size()) {
        throw Error(concat(where, ": is not UTF-8 at byte ", invalid + 1, " of the line"));
      }
    } else if (!is_blank(line)) {
      const std::string text = text_of_json_line(line, where);
      documents_.push_back({offset_, line_number_, static_cast<uint32_t>(line.size()),
                            static_cast<uint32_t>(text.size())});
    }
    offset_ += line_.size();
    ++line_number_;
    line_.clear();
  }

  std::string name_;
  bool json_;
  uint64_t largest_;
  std::vector<Document>& documents_;
  std::string line_;  // with its end, as far as it has arrived
  uint64_t offset_ = 0;
  uint64_t line_number_ = 1;
};

DocumentFile::DocumentFile(const std::filesystem::path& path, uint64_t largest_document)
    : json_(form_of(path) == DataForm::kJsonLines) {
  LineScanner lines(path.string(), json_, std::min(largest_document, kLargestDocument), documents_);
  const ByteConsumer contents = [&](std::string_view bytes) { lines.feed(bytes); };
  if (path.extension() == ".gz") {
    GzipScanner scanner(path.string());
    file_ = hash_file(path, [&](std::string_view bytes) { scanner.feed(bytes, contents); });
    index_ = scanner.finish();
  } else {
    file_ = hash_file(path, contents);
  }
  lines.finish();
  documents_.shrink_to_fit();
  if (documents_.empty()) {
    throw Error(
        concat(path.string(), ": holds no document; expected lines such as {\"text\": \"...\"}"));
  }
}

std::string DocumentFile::where(int64_t document) const {
  const std::string name = file_.path.string();
  return json_ ? line_name(name, documents_.at(document).line) : name;
}

std::string DocumentFile::text(int64_t document) const {
  const Document& place = documents_.at(document);
  const InputFile input(file_.path);
  std::string bytes = index_ ? index_->read(input, place.offset, place.bytes)
                             : input.read_exactly(place.offset, place.bytes);
  std::string text = json_ ? text_of_json_line(bytes, where(document)) : std::move(bytes);
  if (text.size() != place.text_bytes) {
    throw Error(concat(where(document), ": was changed while it was read"));
  }
  return text;
}

size_t DocumentFile::memory_bytes() const {
  return documents_.capacity() * sizeof(Document) + (index_ ? index_->memory_bytes() : 0);
}

DataForm form_of(const std::filesystem::path& path) {
  const bool compressed = path.extension() == ".gz";
  const std::filesystem::path extension = compressed ? path.stem().extension() : path.extension();
  if (extension == ".jsonl" || extension == ".json") return DataForm::kJsonLines;
  if (extension == ".txt") return DataForm::kText;
  if (extension == ".npy" && !compressed) return DataForm::kTokenIds;
  return DataForm::kUnknown;
}

}  // namespace kvcalib
