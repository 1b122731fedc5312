// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "calibrate/output/output_transaction.h"
#include "calibrate/report/summary.h"

namespace kvcalib {

// Writes a delivery and summary.json, all or nothing, and returns what the summary tells.
Summary deliver(OutputTransaction& output, Delivery delivery);

}  // namespace kvcalib
