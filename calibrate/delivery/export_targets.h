// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "calibrate/runtimes/scale_exporter.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// Calls `action` for each of these readers that only reads scales, having checked that it would not
// misread the model.  Throws Error where it would, or where its files name tensors and `weights` is
// no Hugging Face directory.
void for_each_export(
    const WeightDirectory& weights, std::span<const std::string> readers, int64_t ranks,
    const std::function<void(const ScaleExporter& exporter, const ExportTarget& target)>& action);

}  // namespace kvcalib
