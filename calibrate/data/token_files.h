// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <list>
#include <string>
#include <vector>

#include "calibrate/data/npy_file.h"

namespace kvcalib {

// Several .npy files of token ids as one array: [rows, columns], or a stream of tokens.
class TokenFiles {
 public:
  // Throws Error as NpyReader does, and for files of one and of two dimensions together.
  explicit TokenFiles(const std::vector<std::filesystem::path>& files);

  bool is_stream() const { return readers_.front().dimensions() == 1; }
  int64_t tokens() const { return tokens_; }
  int64_t rows() const;
  const std::list<NpyReader>& readers() const { return readers_; }
  // "a.npy", or "a.npy and others".
  std::string name() const;

  // Appends `count` ids from the one at `first` on, files joined end to end.  Throws Error naming
  // file and place for an id outside [0, vocab).
  void take(int64_t first, int64_t count, int64_t vocab, std::vector<int32_t>& ids) const;

 private:
  std::list<NpyReader> readers_;  // a reader stays where it was made
  int64_t tokens_ = 0;
};

}  // namespace kvcalib
