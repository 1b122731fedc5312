// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "calibrate/runtimes/exported_directory.h"
#include "calibrate/runtimes/runtime.h"

namespace kvcalib {

// ScaleExporter::verify of rank files, alone or with the converted checkpoint's own tensors: a file
// of each rank that config.json or the summary counts, F32 [1] of each layer and of no other, the
// cache's type in config.json or in what is to be merged into it.
void verify_rank_files(const ExportedDirectory& directory, VerifyReport& report);

}  // namespace kvcalib
