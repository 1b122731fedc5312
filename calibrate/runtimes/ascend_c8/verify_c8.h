// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "calibrate/runtimes/exported_directory.h"
#include "calibrate/runtimes/runtime.h"

namespace kvcalib {

// ScaleExporter::verify of a C8 overlay: names of every layer in tensors, index and description;
// every weight in the description; whole vectors of one length in the model's type; offsets of 0;
// reciprocals that are finite in that type.
void verify_c8(const ExportedDirectory& directory, VerifyReport& report);

}  // namespace kvcalib
