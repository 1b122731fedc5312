// SPDX-License-Identifier: Apache-2.0
#include "calibrate/delivery/export_targets.h"

#include <optional>

#include "calibrate/runtimes/runtime_table.h"
#include "sharding/files/error.h"

namespace kvcalib {

void for_each_export(
    const WeightDirectory& weights, std::span<const std::string> readers, int64_t ranks,
    const std::function<void(const ScaleExporter& exporter, const ExportTarget& target)>& action) {
  for (const std::string& reader : readers) {
    const ScaleExporter* const exporter = find_exporter(reader);
    if (exporter == nullptr) continue;
    std::optional<Checkpoint> checkpoint;
    if (exporter->names_tensors)
      checkpoint = open_checkpoint(weights, concat("--for ", exporter->name));
    const ExportTarget target{weights, checkpoint ? &*checkpoint : nullptr, ranks};
    exporter->check(target);
    action(*exporter, target);
  }
}

}  // namespace kvcalib
