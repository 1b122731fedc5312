// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "calibrate/command/commands.h"
#include "calibrate/report/standard_output.h"
#include "calibrate/runtimes/runtime_table.h"
#include "sharding/files/error.h"
#include "sharding/files/json_writer.h"

namespace kvcalib {
namespace {

// A reader's directory as that reader takes it.
struct Verified {
  std::filesystem::path directory;
  std::string runtime;  // in JSON: a release of TurboMind, or a reader's name
  std::string title;
  ExportReport report;
};

ExportReport report_of(const Runtime& runtime, const VerifyOptions& options,
                       const std::filesystem::path& directory) {
  ExportReport report;
  static_cast<VerifyReport&>(report) = runtime.verify(directory, options.serving_ranks);
  return report;
}

// Of several readers, one whose folder is not there is at fault alone.
template <typename Action>
ExportReport report_or_fault(const VerifyOptions& options, const Action& action) {
  if (options.readers.size() == 1) return action();
  try {
    return action();
  } catch (const Error& failure) {
    ExportReport report;
    report.faults.emplace_back(failure.what());
    return report;
  }
}

Verified verify(const VerifyOptions& options, const std::string& reader) {
  const std::filesystem::path directory =
      options.readers.size() > 1 ? options.directory / reader : options.directory;
  if (const ScaleExporter* const exporter = find_exporter(reader))
    return {directory, reader, std::string(exporter->title), report_or_fault(options, [&] {
              return verify_export(*exporter, directory, options.serving_ranks);
            })};
  const auto runtime = options.runtime.open();
  return {directory, runtime->release(), runtime->title(),
          report_or_fault(options, [&] { return report_of(*runtime, options, directory); })};
}

nlohmann::ordered_json to_json(const Verified& verified) {
  nlohmann::ordered_json json = {{"directory", verified.directory.string()},
                                 {"runtime", verified.runtime},
                                 {"ok", verified.report.good()},
                                 {"faults", verified.report.faults},
                                 {"notes", verified.report.notes}};
  if (!verified.report.unseen.empty()) json["unseen"] = verified.report.unseen;
  return json;
}

std::string format(const Verified& verified) {
  const ExportReport& report = verified.report;
  std::string text;
  for (const std::string& fault : report.faults) text += concat("fault: ", fault, "\n");
  for (const std::string& note : report.notes) text += concat("note: ", note, "\n");
  std::string result = concat(report.faults.size(), " fault(s)");
  if (report.good())
    result = concat(verified.title, " would load these scales",
                    report.unseen.empty() ? " as they are meant" : concat("; ", report.unseen));
  return concat(text, verified.directory.string(), ": ", result, "\n");
}

}  // namespace

int run_verify(const VerifyOptions& options) {
  bool good = true;
  std::string text;
  nlohmann::ordered_json results = nlohmann::ordered_json::array();
  for (const std::string& reader : options.readers) {
    const Verified verified = verify(options, reader);
    good = good && verified.report.good();
    text += format(verified);
    results.push_back(to_json(verified));
  }
  if (options.json)
    print(json_text(results.size() == 1
                        ? results.front()
                        : nlohmann::ordered_json{{"ok", good}, {"runtimes", results}}));
  else
    print(text);
  return good ? 0 : 1;
}

}  // namespace kvcalib
