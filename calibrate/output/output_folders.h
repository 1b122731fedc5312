// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "calibrate/output/output_directory.h"
#include "calibrate/output/output_names.h"

namespace kvcalib {

// What says the first entry that is no folder of that name, or the first in one of them that is not
// a plain file of its set.
ForeignEntry foreign_to_folders(std::map<std::string, OutputNames> folders);

// A new directory with a folder for each of several sets: they appear whole, all of them, or none.
// Files are named FOLDER/NAME.
class OutputFolders final : public OutputDirectory {
 public:
  using OutputDirectory::OutputDirectory;
  using OutputTransaction::write;
  void write(std::string_view name, const FileContent& content) override;
};

}  // namespace kvcalib
