// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/data/input_file.h"
#include "calibrate/data/window_request.h"

namespace kvcalib {

// The token windows that a model is calibrated with.
struct TokenWindows {
  int64_t samples = 0;
  int64_t length = 0;
  std::vector<int32_t> ids;       // [samples, length]
  std::vector<HashedFile> files;  // in the order given, offsets behind their ids
  // Of text, and of ids with offsets; rows of .npy files of two dimensions; 1 for a stream.
  int64_t documents = 0;
  std::vector<std::string> warnings = {};  // of the tokenizer's files
};

// The files that names and glob(3) patterns stand for: patterns in the order given, the matches of
// each sorted, without the offsets that belong to ids.  Throws Error for a pattern without a match,
// for what is no file, for a file named twice and for an unknown extension, all of `option`.
std::vector<std::filesystem::path> expand_data_paths(const std::vector<std::string>& patterns,
                                                     const std::string& option = "--data");

// Whether there is text among the files.
bool needs_tokenizer(const std::vector<std::filesystem::path>& files);

// How many windows there are and of how many tokens.
struct WindowShape {
  int64_t samples = 0;
  int64_t length = 0;
};

// The windows that .npy files of two dimensions hold: all rows, of the first file's columns.  None
// for other data.  Throws Error for a file that is not as draw_windows needs it.
std::optional<WindowShape> stored_windows(const std::vector<std::filesystem::path>& files);

// Throws Error for windows that are none, or hold more than kMostTokens together.
void check_windows(const WindowRequest& request);

// Draws `request.samples` windows, each id in [0, vocab).
//
// Text: as LMDeploy's get_c4 does (v0.3.0 lite/utils/calib_dataloader.py), all files' documents
// being its data set: after random.seed(seed), for each window a document randint(0, documents -
// 1), again until it has `length` tokens; then those from randint(0, tokens - length) on.  With
// `pack`: all documents in the order of random.shuffle, end to end, cut into windows.  Token ids:
// the first rows of .npy files of two dimensions; of one dimension with offsets beside, as text;
// without, the files make one stream and each window starts at randint(0, tokens - length), as
// get_wikitext2 does.
//
// `tokenizer_model` may be empty when there is no text.  Throws Error naming file and place for
// data that cannot be read or hold other ids, and saying what would do when there is too little.
TokenWindows draw_windows(const std::vector<std::filesystem::path>& files,
                          const std::filesystem::path& tokenizer_model,
                          const WindowRequest& request, int64_t vocab);

}  // namespace kvcalib
