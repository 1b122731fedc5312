// SPDX-License-Identifier: Apache-2.0
#include "calibrate/delivery/output_place.h"

#include <algorithm>
#include <map>
#include <utility>

#include "calibrate/output/file_operations.h"
#include "calibrate/output/output_directory.h"
#include "calibrate/output/output_folders.h"
#include "calibrate/output/weights_transaction.h"
#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"
#include "sharding/files/json_object.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {
namespace {

OutputNames names_for(const std::string& reader) {
  const ScaleExporter* const exporter = find_exporter(reader);
  return exporter != nullptr ? export_names(*exporter) : delivery_names(find_runtime(reader));
}

// Whether a directory's summary says that it was made for that reader; an empty one is nobody's.
bool was_made_for(const std::filesystem::path& directory, std::string_view reader) {
  if (list_directory(directory).empty()) return true;
  try {
    const JsonObject summary = JsonObject::read(directory / kSummaryFileName);
    return summary.text("program", "") == "kvcalib" && summary.text("for", "") == reader;
  } catch (const Error&) {
    return false;
  }
}

// And where the names are those of the reader's files, but nothing says that they were made for it.
std::optional<std::string> made_by_others(const std::filesystem::path& directory,
                                          const std::string& reader) {
  if (find_exporter(reader) == nullptr || kind_at(directory) != FileKind::kDirectory ||
      was_made_for(directory, reader))
    return std::nullopt;
  const OutputNames names = names_for(reader);
  std::vector<std::string> files = list_directory(directory);
  std::stable_partition(files.begin(), files.end(), names.tells_of_a_set);
  return files.front();
}

// What an earlier output does not consist of.
ForeignEntry foreign_to_reader(const std::string& reader) {
  return [reader, by_name = foreign_to(names_for(reader))](
             const std::filesystem::path& directory) -> std::optional<std::string> {
    const std::optional<std::string> foreign = by_name(directory);
    return foreign ? foreign : made_by_others(directory, reader);
  };
}

ForeignEntry foreign_to_several(const std::vector<std::string>& readers) {
  std::map<std::string, OutputNames> folders;
  for (const std::string& reader : readers) folders[reader] = names_for(reader);
  return [readers, by_name = foreign_to_folders(std::move(folders))](
             const std::filesystem::path& directory) -> std::optional<std::string> {
    if (const std::optional<std::string> foreign = by_name(directory)) return foreign;
    for (const std::string& reader : readers)
      if (const std::optional<std::string> file = made_by_others(directory / reader, reader))
        return concat(reader, "/", *file);
    return std::nullopt;
  };
}

}  // namespace

std::unique_ptr<OutputTransaction> open_output(const OutputOptions& options,
                                               std::span<const std::string> readers,
                                               const std::filesystem::path& weights) {
  if (options.in_place && is_hugging_face(weights))
    throw Error(concat("--in-place: ", weights.string(), " is a Hugging Face directory, and the ",
                       "runtime reads scales beside its own weights; give --output DIR, or make ",
                       "its weights with kvcalib shard first"));
  if (readers.size() > 1)
    return std::make_unique<OutputFolders>(*options.output, options.force,
                                           foreign_to_several({readers.begin(), readers.end()}));
  if (options.in_place)
    return std::make_unique<WeightsTransaction>(weights, names_for(readers.front()), options.force);
  return std::make_unique<OutputDirectory>(*options.output, options.force,
                                           foreign_to_reader(readers.front()));
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
