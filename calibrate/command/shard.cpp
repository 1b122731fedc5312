// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <iomanip>
#include <iostream>
#include <sstream>

#include "calibrate/command/commands.h"
#include "calibrate/command/disk_space.h"
#include "calibrate/output/output_directory.h"
#include "calibrate/report/gigabytes.h"
#include "calibrate/report/progress.h"
#include "calibrate/report/standard_output.h"
#include "calibrate/report/warnings.h"
#include "calibrate/runtimes/turbomind/workspace.h"
#include "sharding/files/error.h"
#include "sharding/files/leave_by_signal.h"
#include "sharding/files/unchanged_files.h"
#include "sharding/formats/open_weights.h"
#include "sharding/formats/weight_files.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

void check_space(const fs::path& directory, const fs::path& output,
                 const std::vector<TurboMindFile>& files) {
  uint64_t needed = 0;
  for (const TurboMindFile& file : files) needed += bytes_on_disk(file.bytes);
  check_disk_space(directory, concat("--output ", output.string()), needed);
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

}  // namespace

int run_shard(const ShardOptions& options) {
  const TurboMindRelease& release = find_turbomind_release(options.runtime.release);
  const std::unique_ptr<WeightDirectory> source = open_weights(options.weights);
  const Workspace workspace = plan_workspace(*source, release, options.ranks, options.model_name);
  UnchangedFiles inputs;
  inputs.add(weight_files(*source));
  const std::vector<TurboMindFile> files = turbomind_files(source->config(), workspace.cut);

  OutputDirectory output(options.output, options.force, foreign_to_workspace);
  warn(std::cerr, workspace.warnings);
  ProgressReporter reporter(std::cerr, progress_style(options.quiet));
  output.write_tree([&](const fs::path& partial) {
    check_space(partial, options.output, files);
    write_workspace(*source, workspace, partial,
                    {[&](const WritingProgress& progress) {
                       reporter.update(progress_text(progress), progress.layers_done == 1,
                                       progress.layers_done == progress.layers);
                     },
                     [] { return leaving_signal() != 0; }});
  });
  reporter.finish();
  inputs.check();
  output.commit();

  uint64_t bytes = 0;
  for (const TurboMindFile& file : files) bytes += file.bytes;
  output.after_commit([&] {
    warn(std::cerr, output.warnings());
    print(concat((options.output / "weights").string(), ": ", files.size(), " files of ",
                 options.ranks, options.ranks == 1 ? " rank, " : " ranks, ", gigabytes(bytes), ", ",
                 name(workspace.cut.type), ", for ", release.name(), "\n",
                 (options.output / "tokenizer").string(), ": ", workspace.tokenizer.size(),
                 " files\n"));
  });
  return 0;
}

}  // namespace kvcalib
