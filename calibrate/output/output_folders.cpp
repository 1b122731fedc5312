// SPDX-License-Identifier: Apache-2.0
#include "calibrate/output/output_folders.h"

#include <utility>

#include "calibrate/output/file_operations.h"
#include "sharding/files/leave_by_signal.h"

namespace kvcalib {

namespace fs = std::filesystem;

ForeignEntry foreign_to_folders(std::map<std::string, OutputNames> folders) {
  return [folders = std::move(folders)](const fs::path& directory) -> std::optional<std::string> {
    for (const std::string& name : list_directory(directory)) {
      const auto folder = folders.find(name);
      if (folder == folders.end() || !is_plain_directory(directory / name)) return name;
      if (const auto foreign = foreign_to(folder->second)(directory / name))
        return name + "/" + *foreign;
    }
    return std::nullopt;
  };
}

void OutputFolders::write(std::string_view name, const FileContent& content) {
  wait_if_leaving();
  const size_t slash = name.find('/');
  const std::string folder(name.substr(0, slash));
  const std::string file(slash == std::string_view::npos ? "" : name.substr(slash + 1));
  check_file_name(folder);
  check_file_name(file);
  write_tree([&](const fs::path& partial) {
    if (!is_there(partial / folder)) make_directory(partial / folder);
    write_new_file(partial / folder / file, content);
    sync_directory(partial / folder);
  });
}

}  // namespace kvcalib
