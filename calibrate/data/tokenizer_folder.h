// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace kvcalib {

// What LMDeploy's converters copy beside the weights of a Hugging Face model: its vocabulary, and
// every .json and .py, by name.
std::vector<std::filesystem::path> tokenizer_files_of_model(const std::filesystem::path& model);

// The same of a weights directory: the files of WEIGHTS/../tokenizer, else those in WEIGHTS itself.
// None where there is no tokenizer.
std::vector<std::filesystem::path> tokenizer_files_of_weights(const std::filesystem::path& weights);

// The tokens that begin and end a text.
struct BoundaryIds {
  int64_t start = 0;
  int64_t end = 0;
  std::vector<std::string> warnings = {};  // where model and tokenizer disagree
};

// As the model's config.json states them, or where it does not, its SentencePiece tokenizer.model
// (-1: it has no such token); of several that end a text the tokenizer's, or the first.  Throws
// Error where neither states them.
BoundaryIds boundary_ids(const std::filesystem::path& model);

}  // namespace kvcalib
