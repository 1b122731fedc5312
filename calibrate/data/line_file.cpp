// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/line_file.h"

#include <string>

#include "calibrate/data/gzip_index.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

// Cuts contents that arrive in pieces into lines.
class LineCutter {
 public:
  LineCutter(std::string name, uint64_t largest, const LineConsumer& consumer)
      : name_(std::move(name)), largest_(largest), consumer_(consumer) {}

  void feed(std::string_view bytes) {
    for (size_t end = bytes.find('\n'); end != std::string_view::npos; end = bytes.find('\n')) {
      extend(bytes.substr(0, end));
      end_line();
      bytes.remove_prefix(end + 1);
    }
    extend(bytes);
  }

  void finish() {
    if (!line_.empty()) end_line();
  }

 private:
  void extend(std::string_view bytes) {
    if (bytes.size() > largest_ - line_.size()) {
      throw Error(concat(name_, ", line ", number_, ": has more than ", largest_,
                         " bytes; another file has its name"));
    }
    line_ += bytes;
  }

  void end_line() {
    std::string_view line = line_;
    if (line.ends_with('\r')) line.remove_suffix(1);
    consumer_(line, number_);
    ++number_;
    line_.clear();
  }

  std::string name_;
  uint64_t largest_;
  const LineConsumer& consumer_;
  std::string line_;  // as far as it has arrived
  uint64_t number_ = 1;
};

}  // namespace

HashedFile read_lines(const std::filesystem::path& path, uint64_t largest_line,
                      const LineConsumer& consumer) {
  LineCutter lines(path.string(), largest_line, consumer);
  const ByteConsumer contents = [&](std::string_view bytes) { lines.feed(bytes); };
  HashedFile file;
  if (path.extension() == ".gz") {
    GzipScanner scanner(path.string());
    file = hash_file(path, [&](std::string_view bytes) { scanner.feed(bytes, contents); });
    scanner.finish();
  } else {
    file = hash_file(path, contents);
  }
  lines.finish();
  return file;
}

}  // namespace kvcalib
