// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "calibrate/runtimes/scale_exporter.h"

namespace kvcalib {

// LMDeploy's PyTorch engine on Ascend, an int8 cache (quant_policy = 8): record.txt, which
// ASCEND_QUANT_RECORD_FILE names.  For each layer K, then V:
//   record {
//     key: "layers.N.k_cache"
//     value { scale: 0.0123 offset: 0 }
//   }
// All that is read is "scale:", a number of digits, points and signs, "offset:" and a whole number,
// in the order of the file; a number with an exponent is no such number, and shifts all that
// follow.  scale = absmax / 127; offset = 0, since its sign differs between runtimes.
// Source: AscendKVQuantMeta in lmdeploy/pytorch/backends/dlinfer/ascend/op_backend.py.  dlinfer
// v0.1.3.post1 to v0.2.3 de-quantise what they read back; from v0.2.5 on nothing does.
extern const ScaleExporter kLmDeployAscend;

// Scales and offsets of a record file as LMDeploy finds them there: by that pattern, in order.
struct RecordedScale {
  float scale = 0;
  float offset = 0;
};
std::vector<RecordedScale> parse_record(std::string_view text);

}  // namespace kvcalib
