// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "calibrate/delivery/delivery.h"
#include "calibrate/output/output_names.h"
#include "calibrate/report/evaluation.h"

namespace kvcalib {

// The files of an evaluation: evaluation.json, evaluation.md, and items.jsonl where there are
// tasks.
OutputNames evaluation_file_names();
std::vector<DeliveredFile> evaluation_files(const Evaluation& evaluation,
                                            std::span<const ScoredTask> tasks);

}  // namespace kvcalib
