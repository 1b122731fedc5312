// SPDX-License-Identifier: Apache-2.0
#include "calibrate/delivery/output_place.h"

#include <map>
#include <utility>

#include "calibrate/output/output_directory.h"
#include "calibrate/output/output_folders.h"
#include "calibrate/output/weights_transaction.h"
#include "sharding/files/error.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {
namespace {

OutputNames names_for(const std::string& reader) {
  const ScaleExporter* const exporter = find_exporter(reader);
  return exporter != nullptr ? export_names(*exporter) : delivery_names(find_runtime(reader));
}

}  // namespace

std::unique_ptr<OutputTransaction> open_output(const OutputOptions& options,
                                               std::span<const std::string> readers,
                                               const std::filesystem::path& weights) {
  if (options.in_place && is_hugging_face(weights))
    throw Error(concat("--in-place: ", weights.string(), " is a Hugging Face directory, and the ",
                       "runtime reads scales beside its own weights; give --output DIR, or make ",
                       "its weights with kvcalib shard first"));
  if (readers.size() > 1) {
    std::map<std::string, OutputNames> folders;
    for (const std::string& reader : readers) folders[reader] = names_for(reader);
    return std::make_unique<OutputFolders>(*options.output, options.force,
                                           foreign_to_folders(std::move(folders)));
  }
  OutputNames names = names_for(readers.front());
  if (options.in_place)
    return std::make_unique<WeightsTransaction>(weights, std::move(names), options.force);
  return std::make_unique<OutputDirectory>(*options.output, options.force,
                                           foreign_to(std::move(names)));
}

std::filesystem::path output_path(const OutputOptions& options,
                                  const std::filesystem::path& weights) {
  return options.in_place ? weights : *options.output;
}

void clear_output(const OutputOptions& options, std::span<const std::string> readers,
                  const std::filesystem::path& weights) {
  if (options.in_place)
    WeightsTransaction::recover(weights, names_for(readers.front()));
  else
    open_output(options, readers, weights);
}

}  // namespace kvcalib
