// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/deliver.h"

#include <utility>

namespace kvcalib {

Summary deliver(OutputTransaction& output, Delivery delivery) {
  Summary summary = summarise(std::move(delivery));
  Delivery& whole = summary.delivery;
  whole.files.push_back({kSummaryFileName, {}});  // which tells of itself
  whole.files.back().content = [text = to_json(summary).dump(2) + "\n"](ByteSink& sink) {
    sink.append(text);
  };
  write_delivery(output, whole);
  return summary;
}

}  // namespace kvcalib
