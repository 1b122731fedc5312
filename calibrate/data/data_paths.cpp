// SPDX-License-Identifier: Apache-2.0
#include <glob.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "calibrate/data/document_file.h"
#include "calibrate/data/token_documents.h"
#include "calibrate/data/windows.h"
#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"

namespace kvcalib {
namespace {

using std::filesystem::path;

constexpr const char* kExtensions = ".jsonl, .json, .txt (each also with .gz behind) or .npy";

std::vector<path> matches_of(const std::string& pattern, const std::string& option) {
  if (kind_behind(pattern) != FileKind::kNothing)
    return {pattern};  // a name may hold the characters of a pattern
  struct Found : glob_t {
    Found() : glob_t{} {}
    ~Found() { globfree(this); }
  } found;
  static thread_local int reason = 0;
  const auto stops = [](const char* /*folder*/, int error) {
    reason = error;
    return static_cast<int>(error != ENOENT && error != ENOTDIR && error != EACCES);
  };
  const int status = glob(pattern.c_str(), 0, stops, &found);
  if (status == GLOB_NOSPACE) throw std::bad_alloc();
  if (status == GLOB_ABORTED)
    throw Error(concat(option, " ", pattern, ": cannot be looked for: ", std::strerror(reason)));
  if (status != 0) throw Error(concat(option, " ", pattern, ": no such file"));
  std::vector<path> matches(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  if (std::erase_if(matches, are_offsets) > 0 && matches.empty())
    throw Error(concat(option, " ", pattern, ": holds where documents begin; name the ids, beside ",
                       "which it is found"));
  std::sort(matches.begin(), matches.end());
  return matches;
}

void check(const path& file, const std::string& option) {
  const FileKind kind = kind_behind(file);
  if (kind == FileKind::kDirectory) {
    throw Error(concat(option, " ", file.string(),
                       ": is a directory; name the files in it, as in '",
                       (file / "*.json.gz").string(), "'"));
  }
  if (kind != FileKind::kFile) throw Error(concat(option, " ", file.string(), ": is not a file"));
  if (are_offsets(file)) {
    throw Error(concat(option, " ", file.string(), ": holds where documents begin; name the ids, ",
                       "beside which it is found"));
  }
  if (form_of(file) == DataForm::kUnknown) {
    throw Error(concat(option, " ", file.string(), ": has the unknown extension '",
                       file.extension().string(), "'; expected ", kExtensions));
  }
}

}  // namespace

std::vector<path> expand_data_paths(const std::vector<std::string>& patterns,
                                    const std::string& option) {
  std::vector<path> files;
  for (const std::string& pattern : patterns) {
    for (const path& file : matches_of(pattern, option)) {
      check(file, option);
      if (std::find(files.begin(), files.end(), file) != files.end()) {
        throw Error(concat(option, " ", file.string(),
                           ": is named twice; its documents would count twice"));
      }
      files.push_back(file);
    }
  }
  return files;
}

bool needs_tokenizer(const std::vector<path>& files) {
  return std::any_of(files.begin(), files.end(),
                     [](const path& file) { return form_of(file) != DataForm::kTokenIds; });
}

}  // namespace kvcalib
