// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/text_in_order.h"

#include <algorithm>
#include <limits>
#include <span>

#include "calibrate/data/document_file.h"
#include "calibrate/data/text_documents.h"
#include "calibrate/data/token_files.h"
#include "calibrate/data/window_request.h"
#include "calibrate/data/windows.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

using std::filesystem::path;

constexpr int64_t kShortestWindow = 2;  // of which one token is scored

int64_t most_windows(const TextInOrderRequest& request) {
  return request.most_windows.value_or(std::numeric_limits<int64_t>::max());
}

// The tokens that are wanted: never more than kMostTokens.
int64_t most_tokens(const TextInOrderRequest& request) {
  if (most_windows(request) > kMostTokens / request.length) return kMostTokens;
  return most_windows(request) * request.length;
}

void refuse_too_many(bool too_many) {
  if (!too_many) return;
  throw Error(concat("--data: holds more than ", kMostTokens,
                     " tokens, more than are evaluated at once; use --limit or less data"));
}

// What messages call the data.
std::string source_of(const std::vector<path>& files) {
  return files.size() == 1 ? files.front().string() : concat("--data: ", files.size(), " files");
}

// Throws Error where there is none.
std::vector<std::vector<int32_t>> cut_into_windows(std::span<const int32_t> ids, int64_t length,
                                                   const std::string& source) {
  std::vector<std::vector<int32_t>> windows;
  for (size_t first = 0; ids.size() - first >= kShortestWindow;
       first = std::min(ids.size(), first + length)) {
    const auto window = ids.subspan(first, std::min<size_t>(length, ids.size() - first));
    windows.emplace_back(window.begin(), window.end());
  }
  if (windows.empty()) {
    throw Error(concat(source, ": holds ", ids.size(), " tokens; expected ", kShortestWindow,
                       " or more, of which the first tell how likely the others are"));
  }
  return windows;
}

TextInOrder of_text(const std::vector<path>& files, const path& tokenizer_model,
                    const TextInOrderRequest& request, int64_t vocab) {
  if (tokenizer_model.empty()) {
    throw Error(concat(files.front().string(),
                       ": is text, which needs a tokenizer; name the model's with --tokenizer"));
  }
  const Tokenizer tokenizer(tokenizer_model);
  TextDocuments documents(files, tokenizer);
  TextInOrder text;
  text.warnings = tokenizer.warnings();
  for (const DocumentFile& file : documents.files()) text.files.push_back(file.file());
  const int64_t wanted = most_tokens(request);
  std::vector<int32_t> ids;
  for (int64_t document = 0; document < documents.count(); ++document) {
    const int64_t missing = wanted - static_cast<int64_t>(ids.size());
    if (missing == 0) break;
    documents.take(document, 0, std::min(documents.tokens(document), missing), vocab, ids);
    ++text.documents;
  }
  refuse_too_many(!request.most_windows && text.documents < documents.count());
  text.windows = cut_into_windows(ids, request.length, source_of(files));
  return text;
}

std::vector<std::vector<int32_t>> windows_of_stream(const TokenFiles& files,
                                                    const TextInOrderRequest& request,
                                                    int64_t vocab) {
  const int64_t wanted = most_tokens(request);
  refuse_too_many(!request.most_windows && files.tokens() > wanted);
  std::vector<int32_t> ids;
  files.take(0, std::min(files.tokens(), wanted), vocab, ids);
  return cut_into_windows(ids, request.length, files.name());
}

std::vector<std::vector<int32_t>> windows_of_rows(const TokenFiles& files,
                                                  const TextInOrderRequest& request,
                                                  int64_t vocab) {
  std::vector<std::vector<int32_t>> windows;
  int64_t first = 0;
  for (const NpyReader& reader : files.readers()) {
    const int64_t columns = reader.columns();
    if (columns < kShortestWindow || columns > request.length) {
      throw Error(concat(reader.name(), ": its windows have ", columns, " tokens, expected ",
                         kShortestWindow, " to ", request.length,
                         columns > request.length ? concat("; use --length ", columns) : ""));
    }
    const int64_t missing = most_windows(request) - static_cast<int64_t>(windows.size());
    const int64_t rows = std::min(reader.rows(), missing);
    refuse_too_many(rows > (kMostTokens - first) / columns);
    for (int64_t row = 0; row < rows; ++row)
      files.take(first + row * columns, columns, vocab, windows.emplace_back());
    first += reader.rows() * columns;
  }
  if (windows.empty()) throw Error(concat(files.name(), ": holds no windows"));
  return windows;
}

TextInOrder of_ids(const std::vector<path>& files, const TextInOrderRequest& request,
                   int64_t vocab) {
  const TokenFiles ids(files);
  TextInOrder text;
  text.windows = ids.is_stream() ? windows_of_stream(ids, request, vocab)
                                 : windows_of_rows(ids, request, vocab);
  for (const path& file : files) text.files.push_back(hash_file(file));
  return text;
}

void check(const TextInOrderRequest& request) {
  if (request.length < kShortestWindow || request.length > kMostTokens) {
    throw Error(
        concat("--length ", request.length, ": expected ", kShortestWindow, " to ", kMostTokens));
  }
  if (most_windows(request) < 1)
    throw Error(concat("--limit ", *request.most_windows, ": expected 1 or more"));
}

}  // namespace

TextInOrder read_text_in_order(const std::vector<path>& files, const path& tokenizer_model,
                               const TextInOrderRequest& request, int64_t vocab) {
  check(request);
  if (files.empty()) throw Error("--data: no files are named");
  if (!needs_tokenizer(files)) return of_ids(files, request, vocab);
  const auto ids = std::find_if(files.begin(), files.end(), [](const path& file) {
    return form_of(file) == DataForm::kTokenIds;
  });
  if (ids != files.end()) {
    throw Error(concat("--data: ", ids->string(),
                       " holds token ids, other files text; give one or the other"));
  }
  return of_text(files, tokenizer_model, request, vocab);
}

}  // namespace kvcalib
