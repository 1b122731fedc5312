// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/data/input_file.h"

namespace kvcalib {

// Held-out text from its beginning on.
struct TextInOrder {
  std::vector<std::vector<int32_t>> windows;  // of at least 2 tokens each
  std::vector<HashedFile> files;              // in the order given
  int64_t documents = 0;                      // of text that the windows reach; of ids 0
  std::vector<std::string> warnings;          // of the tokenizer's files
};

struct TextInOrderRequest {
  int64_t length = 2048;                // tokens of a window, at least 2
  std::optional<int64_t> most_windows;  // at least 1; all of them where it is not given
};

// The tokens of all files' documents, each as Tokenizer::encode gives it, end to end in the order
// of the files, cut into consecutive windows; a last shorter window is kept from 2 tokens on.  .npy
// files of one dimension likewise, end to end; of two dimensions: a window is a row, of any length
// up to that asked for.  No more documents are cut, or ids read, than the windows asked for take.
// `tokenizer_model` may be empty when there is no text.  Throws Error naming file and place for
// data that cannot be read, hold no window or ids outside [0, vocab).
TextInOrder read_text_in_order(const std::vector<std::filesystem::path>& files,
                               const std::filesystem::path& tokenizer_model,
                               const TextInOrderRequest& request, int64_t vocab);

}  // namespace kvcalib
