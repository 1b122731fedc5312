// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/plan.h"

#include <algorithm>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <sstream>

#include "calibrate/engine/histogram_observer.h"
#include "calibrate/report/gigabytes.h"
#include "calibrate/runtimes/runtime_table.h"
#include "calibrate/statistics/statistics_file.h"
#include "sharding/files/error.h"
#include "sharding/files/json_writer.h"
#include "sharding/formats/model_config_json.h"

namespace kvcalib {
namespace {

PassSettings settings_of(const CalibrationPlan& plan) {
  PassSettings settings;
  settings.device = plan.devices.devices.front();
  settings.micro_batch_tokens = plan.micro_batch_tokens;
  return settings;
}

}  // namespace

int64_t CalibrationPlan::micro_batch_windows() const {
  return windows_per_micro_batch(settings_of(*this), windows.length);
}

uint64_t CalibrationPlan::bytes_to_read() const {
  return layer_bytes * static_cast<uint64_t>(config.layers);
}

MemoryPlan CalibrationPlan::memory() const {
  const PassSettings settings = settings_of(*this);
  MemoryPlan memory =
      plan_memory(config, layer_bytes, windows.samples, windows.length, ranks, settings);
  if (histograms) memory.histograms = histogram_bytes(config, windows.length, settings.device);
  return memory;
}

// CPU ranks share one machine, GPU ranks are as many here as there are devices.
HostMemoryPlan CalibrationPlan::host_memory() const {
  const c10::Device& device = devices.devices.front();
  return plan_host_memory(memory(), device, windows.samples, windows.length,
                          device.is_cpu() ? ranks : std::min(ranks, devices.ranks()));
}

std::string format_plan(const CalibrationPlan& plan) {
  const ModelConfig& config = plan.config;
  const MemoryPlan memory = plan.memory();
  std::ostringstream text;
  const auto line = [&text](const char* what) -> std::ostringstream& {
    text << std::left << std::setw(16) << what;
    return text;
  };
  line("model") << config.layers << " layers, hidden " << config.hidden << ", " << config.heads
                << " heads, " << config.kv_heads << " kv heads x " << config.head_dim
                << ", intermediate " << config.intermediate << ", vocab " << config.vocab << ", "
                << name(config.weight_type) << ", cut for " << config.stored_ranks << " rank(s)\n";
  line("windows") << plan.windows.samples << " x " << plan.windows.length << " tokens, seed "
                  << plan.windows.seed << (plan.windows.pack ? ", packed" : "") << "\n";
  line("devices") << plan.devices.text() << ", " << plan.micro_batch_windows()
                  << " window(s) a micro-batch\n";
  for (const std::string& reader : plan.target.readers) {
    const ScaleExporter* const exporter = find_exporter(reader);
    if (exporter != nullptr)
      line("for") << exporter->title << ": " << exporter->formula << "\n";
    else
      line("runtime") << plan.target.runtime->release() << ", " << plan.target.ranks
                      << " serving rank(s), " << plan.target.method.text()
                      << (plan.target.session_length > plan.windows.length
                              ? concat(", sessions of ", plan.target.session_length, " tokens")
                              : std::string())
                      << "\n";
  }
  line("to read") << gigabytes(plan.bytes_to_read(), 3) << " in all, each byte once\n";
  line("memory") << gigabytes(memory.total(), 3) << " per device: two layers "
                 << gigabytes(memory.layers, 3) << ", activations "
                 << gigabytes(memory.activations, 3) << ", micro-batch "
                 << gigabytes(memory.micro_batch, 3);
  if (plan.histograms) text << ", histograms " << gigabytes(memory.histograms, 3);
  text << "\n";
  for (const std::string& reader : plan.target.readers) {
    const ScaleExporter* const exporter = find_exporter(reader);
    line("to write") << (exporter == nullptr
                             ? plan.target.runtime->files_in_words(config, plan.target.ranks)
                             : exporter->files_in_words(config.layers, plan.target.ranks))
                     << ", " << kStatisticsFileName << ", " << kSummaryFileName << " into "
                     << plan.place
                     << (plan.target.readers.size() > 1 ? concat("/", reader) : std::string())
                     << "\n";
  }
  for (const std::string& warning : plan.target.warnings) line("warning") << warning << "\n";
  return text.str();
}

std::string plan_json(const CalibrationPlan& plan) {
  const nlohmann::json model = plan.config;
  nlohmann::ordered_json json = {{"dry_run", true}};
  for (const char* key : kDimensionKeys) json[key] = model[key];
  json.update({{"samples", plan.windows.samples},
               {"length", plan.windows.length},
               {"seed", plan.windows.seed},
               {"devices", plan.devices.text()},
               {"micro_batch_windows", plan.micro_batch_windows()},
               {"runtime", plan.target.runtime->release()},
               {"serving_tp", plan.target.ranks},
               {"method", plan.target.method.text()},
               {"bytes_to_read", plan.bytes_to_read()},
               {"memory_bytes_per_device", plan.memory().total()},
               {"scale_files", plan.config.layers * plan.target.ranks},
               {"warnings", plan.target.warnings}});
  if (!plan.target.serves(kTurboMind)) json.erase("scale_files");
  if (plan.target.readers.size() > 1 || !plan.target.serves(kTurboMind))
    json["for"] = plan.target.readers;
  return json_text(std::move(json));
}

}  // namespace kvcalib
