// SPDX-License-Identifier: Apache-2.0
#include <sys/statvfs.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <iomanip>
#include <iostream>
#include <sstream>

#include "calibrate/command/commands.h"
#include "calibrate/data/tokenizer_folder.h"
#include "calibrate/output/file_operations.h"
#include "calibrate/output/output_directory.h"
#include "calibrate/report/gigabytes.h"
#include "calibrate/report/progress.h"
#include "calibrate/runtimes/turbomind/deployed_config.h"
#include "calibrate/runtimes/turbomind/release.h"
#include "sharding/files/error.h"
#include "sharding/files/file_bytes.h"
#include "sharding/formats/open_weights.h"
#include "sharding/formats/turbomind_directory.h"
#include "sharding/writing/table_rows.h"
#include "sharding/writing/turbomind_writer.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

constexpr RuntimeRelease kNormalisesHead(0, 0, 8);
constexpr uint64_t kBlock = 4096;  // a file takes whole ones

volatile std::sig_atomic_t stop_signal = 0;

// While it lives, the signals that end a program are noted: what was written is taken back first.
// The second one ends it at once; one that is ignored, as by nohup, still is.
class StopOnSignal {
 public:
  StopOnSignal() {
    struct sigaction action {};
    action.sa_handler = [](int number) { stop_signal = number; };
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    for (size_t i = 0; i < kSignals.size(); ++i) {
      ::sigaction(kSignals[i], nullptr, &before_[i]);
      if (before_[i].sa_handler != SIG_IGN) ::sigaction(kSignals[i], &action, nullptr);
    }
  }
  ~StopOnSignal() {
    for (size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
  }
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;

 private:
  static constexpr std::array kSignals{SIGINT, SIGTERM, SIGHUP};
  std::array<struct sigaction, kSignals.size()> before_{};
};

// What is to be written beside the weights.
struct Workspace {
  TurboMindCut cut;
  std::string config;
  std::vector<fs::path> tokenizer;
  std::vector<std::string> warnings;
};

void refuse_faults(const fs::path& weights, const std::vector<std::string>& faults) {
  std::string text;
  for (const std::string& fault : faults)
    text += concat(text.empty() ? "" : "\n", weights.string(), ": ", fault);
  if (!text.empty()) throw Error(text);
}

Workspace of_turbomind(const TurboMindDirectory& source, const ShardOptions& options,
                       const RuntimeRelease& release) {
  const ModelConfig& model = source.config();
  if (deployed_type(model, release) != model.weight_type)
    throw Error(concat(options.weights.string(), ": weight_type = bf16: ", release.name(),
                       " reads all weights as fp16; take v0.1.0 or later"));
  Workspace workspace;
  workspace.cut = {options.ranks, model.weight_type,
                   deployed_rows(rows_without_padding(source), release, options.ranks), true};
  IniFile config = source.config_file().with("tensor_para_size", std::to_string(options.ranks));
  if (!options.model_name.empty()) config = config.with("model_name", options.model_name);
  if (config.integer("quant_policy", 0) != 0 && options.ranks != model.stored_ranks)
    workspace.warnings.push_back(
        concat("quant_policy = ", config.integer("quant_policy"), " is kept; scale files are ",
               "another matter: make those of ", options.ranks, " ranks with kvcalib export"));
  workspace.config = config.text();
  workspace.tokenizer = tokenizer_files_of_weights(options.weights);
  return workspace;
}

Workspace of_hugging_face(const WeightDirectory& source, const ShardOptions& options,
                          const RuntimeRelease& release) {
  const ModelConfig& model = source.config();
  if (options.model_name.empty())
    throw UsageError(concat("--model-name NAME is missing: ", release.name(), " looks a chat ",
                            "template up by it, as llama2 or internlm-chat-7b; llama has none; ",
                            "see kvcalib shard --help"));
  Workspace workspace;
  const int64_t rows = source.embedding().rows;
  workspace.cut = {options.ranks, deployed_type(model, release),
                   deployed_rows(rows, release, options.ranks), release >= kNormalisesHead};
  const BoundaryIds ids = boundary_ids(options.weights);
  workspace.config = deployed_config(model, release,
                                     {options.model_name, options.ranks, rows, ids.start, ids.end});
  workspace.tokenizer = tokenizer_files_of_model(options.weights);
  return workspace;
}

Workspace plan_workspace(const WeightDirectory& source, const ShardOptions& options,
                         const RuntimeRelease& release) {
  refuse_faults(options.weights, deploy_faults(source.config(), release, options.ranks));
  const auto* const turbomind = dynamic_cast<const TurboMindDirectory*>(&source);
  Workspace workspace = turbomind != nullptr ? of_turbomind(*turbomind, options, release)
                                             : of_hugging_face(source, options, release);
  if (workspace.tokenizer.empty())
    workspace.warnings.push_back(concat(options.weights.string(), ": no tokenizer is beside the ",
                                        "weights; the folder tokenizer is left empty"));
  return workspace;
}

bool is_weight_file(const std::string& name) {
  return name == "config.ini" ||
         ((name.ends_with(".weight") || name.ends_with(".bias")) && !is_output_file_name(name));
}

// What `shard` did not write into a folder that it is to replace.
std::optional<std::string> foreign_to_workspace(const fs::path& directory) {
  for (const std::string& name : list_directory(directory)) {
    if ((name != "weights" && name != "tokenizer") || !is_plain_directory(directory / name))
      return name;
    for (const std::string& file : list_directory(directory / name)) {
      if (!is_plain_file(directory / name / file) || (name == "weights" && !is_weight_file(file)))
        return name + "/" + file;
    }
  }
  return std::nullopt;
}

void check_space(const fs::path& directory, const fs::path& output,
                 const std::vector<TurboMindFile>& files) {
  uint64_t needed = 0;
  for (const TurboMindFile& file : files) needed += (file.bytes + kBlock - 1) / kBlock * kBlock;
  struct statvfs system {};
  if (::statvfs(directory.c_str(), &system) != 0) throw_system_error(directory, "cannot be read");
  const uint64_t free = static_cast<uint64_t>(system.f_bavail) * system.f_frsize;
  if (free < needed)
    throw Error(concat("--output ", output.string(), ": ", gigabytes(free), " are free, ",
                       gigabytes(needed), " are needed; make room or name another disk"));
}

std::string progress_text(const WritingProgress& progress) {
  const double rate =
      static_cast<double>(progress.bytes_written) / std::max(progress.seconds, 1e-9);
  const auto left = static_cast<double>(progress.bytes - progress.bytes_written);
  std::ostringstream text;
  text << std::fixed << "layer " << progress.layers_done << " of " << progress.layers
       << ", writing " << std::setprecision(2) << rate / 1e9 << " GB/s, " << std::setprecision(0)
       << std::ceil(left / std::max(rate, 1.0)) << " s left";
  return text.str();
}

void write_workspace(const WeightDirectory& source, const Workspace& workspace,
                     const fs::path& directory, ProgressReporter& reporter) {
  const fs::path weights = directory / "weights";
  const fs::path tokenizer = directory / "tokenizer";
  make_directory(weights);
  make_directory(tokenizer);
  for (const fs::path& file : workspace.tokenizer)
    write_new_file(tokenizer / file.filename(), read_file(file));
  write_new_file(weights / "config.ini", workspace.config);
  write_turbomind_weights(source, workspace.cut, weights,
                          {[&](const WritingProgress& progress) {
                             reporter.update(progress_text(progress), progress.layers_done == 1,
                                             progress.layers_done == progress.layers);
                           },
                           [] { return stop_signal != 0; }});
  sync_directory(tokenizer);
  sync_directory(weights);
}

}  // namespace

int run_shard(const ShardOptions& options) {
  const RuntimeRelease release = RuntimeRelease::parse(options.runtime);
  const std::unique_ptr<WeightDirectory> source = open_weights(options.weights);
  const Workspace workspace = plan_workspace(*source, options, release);
  const std::vector<TurboMindFile> files = turbomind_files(source->config(), workspace.cut);

  const StopOnSignal stop;
  OutputDirectory output(options.output, options.force, {}, foreign_to_workspace);
  check_space(output.partial(), options.output, files);
  for (const std::string& warning : workspace.warnings)
    std::cerr << "kvcalib: warning: " << warning << std::endl;
  ProgressReporter reporter(std::cerr, progress_style(options.quiet));
  write_workspace(*source, workspace, output.partial(), reporter);
  reporter.finish();
  if (stop_signal != 0) throw Error("stopped; nothing was written");
  output.commit();

  uint64_t bytes = 0;
  for (const TurboMindFile& file : files) bytes += file.bytes;
  std::cout << (options.output / "weights").string() << ": " << files.size() << " files of "
            << options.ranks << (options.ranks == 1 ? " rank, " : " ranks, ") << gigabytes(bytes)
            << ", " << name(workspace.cut.type) << ", for " << release.name() << "\n"
            << (options.output / "tokenizer").string() << ": " << workspace.tokenizer.size()
            << " files\n";
  return 0;
}

}  // namespace kvcalib
