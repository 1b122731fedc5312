// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <iostream>
#include <mutex>

#include "calibrate/command/commands.h"
#include "calibrate/command/disk_space.h"
#include "calibrate/command/equalised_tree.h"
#include "calibrate/command/statistics_match.h"
#include "calibrate/equalise/equalisation.h"
#include "calibrate/output/directory_exchange.h"
#include "calibrate/output/file_operations.h"
#include "calibrate/output/output_directory.h"
#include "calibrate/output/weights_transaction.h"
#include "calibrate/report/gigabytes.h"
#include "calibrate/report/progress.h"
#include "calibrate/report/standard_output.h"
#include "calibrate/report/warnings.h"
#include "calibrate/runtimes/runtime_table.h"
#include "calibrate/statistics/session_ranges.h"
#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"
#include "sharding/files/leave_by_signal.h"
#include "sharding/files/unchanged_files.h"
#include "sharding/formats/fingerprint.h"
#include "sharding/formats/open_weights.h"
#include "sharding/formats/turbomind_layout.h"
#include "sharding/formats/weight_files.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

// Their factors would have to go into packed tiles and the scales of groups.
void refuse_int4(const fs::path& weights) {
  const fs::path file = weights / kTurboMindConfig;
  if (kind_behind(file) != FileKind::kFile) return;
  const IniFile config = IniFile::read(file);
  if (config.find("weight_type") == "int4" || config.integer("group_size", 0) > 0)
    throw Error(concat(file.string(), ": int4 weights cannot be equalised; equalise the model in ",
                       "fp16 or bf16 and quantise that"));
}

// An earlier output: its statistics say that they were equalised, and it holds nothing but files
// that these weights or a calibration would bring again.
ForeignEntry foreign_to_equalised(const fs::path& weights) {
  return [weights](const fs::path& directory) -> std::optional<std::string> {
    const OutputNames results = delivery_names(find_runtime(kTurboMind));
    const std::vector<std::string> names = list_directory(directory);
    for (const std::string& name : names)
      if (!is_plain_file(directory / name) || (!results.is_ours(name) && !is_there(weights / name)))
        return name;
    if (names.empty()) return std::nullopt;
    try {
      if (read_statistics(directory / kStatisticsFileName).provenance.equalised)
        return std::nullopt;
    } catch (const Error&) {
    }
    return names.front();
  };
}

void check_places(const EqualiseOptions& options) {
  if (!options.output.output) return;
  if (is_within(*options.output.output, options.weights) ||
      is_within(options.weights, *options.output.output))
    throw Error(concat("--output ", options.output.output->string(), ": is the weights directory, ",
                       "lies in it or holds it; name another, or give --in-place"));
}

// Whoever runs a command again that was killed when all was done.
void refuse_equalised(const StatisticsFile& statistics, const WeightDirectory& weights) {
  const fs::path file = weights.path() / kStatisticsFileName;
  if (kind_behind(file) != FileKind::kFile) return;
  const Provenance here = read_statistics(file).provenance;
  if (here.equalised &&
      here.equalised->weights_fingerprint == statistics.provenance.weights_fingerprint &&
      here.weights_fingerprint == weights_fingerprint(weights))
    throw Error(concat(weights.path().string(),
                       ": is equalised by these statistics already; those ",
                       "of the weights as they are now are in ", file.string()));
}

// What would lead into the backup, or the backup into what is new.
void refuse_inner_links(const fs::path& weights, const std::string& name) {
  constexpr int kMostHops = 40;
  fs::path path = weights / name;
  for (int hop = 0; hop < kMostHops; ++hop) {
    const std::optional<std::string> target = link_target(path);
    if (!target) return;
    path = path.parent_path() / *target;
    if (is_within(path.parent_path(), weights))
      throw Error(concat((weights / name).string(), ": is a link that leads into the directory ",
                         "itself, which is exchanged; put the file in its place, or give --output ",
                         "DIR"));
  }
}

void check_in_place(const EqualiseOptions& options, const EqualisedTree& tree) {
  if (!options.output.in_place) return;
  if (is_within(fs::current_path(), options.weights))
    throw Error(concat(options.weights.string(), ": the current directory lies in it, and would ",
                       "be that of the backup afterwards; go elsewhere first"));
  for (const auto& [name, tensors] : tree.tensors) refuse_inner_links(options.weights, name);
  for (const std::string& name : tree.same) refuse_inner_links(options.weights, name);
  if (WeightsTransaction::is_pending(options.weights))
    throw Error(concat(options.weights.string(),
                       ": an in-place run is at work here or was killed; ",
                       "let the next one, as kvcalib export --in-place, finish it first"));
  if (!tree.scales.empty() && !options.output.force)
    throw Error(
        concat(options.weights.string(), ": has ", tree.scales.size(), " KV scale files of ",
               "the weights as they are; pass --force to leave them behind, in the backup"));
}

// "K: 12 of 4096 rotary pairs WHAT"
void tell_count(int64_t keys, int64_t values, const Equalisation& plan, const std::string& what,
                std::vector<std::string>& warnings) {
  if (keys > 0)
    warnings.push_back(concat("K: ", keys, " of ", plan.keys.all, " rotary pairs ", what));
  if (values > 0)
    warnings.push_back(concat("V: ", values, " of ", plan.values.all, " channels ", what));
}

std::vector<std::string> warnings_of(const WeightDirectory& weights, const Equalisation& plan,
                                     const EqualisedTree& tree, bool in_place) {
  std::vector<std::string> warnings = weights.warnings();
  tell_count(plan.keys.still, plan.values.still, plan,
             "never left 0 in the calibration and are left alone", warnings);
  tell_count(plan.keys.bounded, plan.values.bounded, plan,
             concat("hardly moved; their factors end at ", kLargestFactor), warnings);
  tell_count(plan.keys.held, plan.values.held, plan,
             "are left alone or nearly so: weights would overflow or lose their last bits",
             warnings);
  if (!tree.scales.empty())
    warnings.push_back(concat(tree.scales.size(), " KV scale files of the weights before are left ",
                              "out; make new ones with kvcalib export"));
  for (const std::string& name : tree.left_out)
    warnings.push_back(concat((weights.path() / name).string(), ": is left out",
                              in_place ? " and in the backup alone" : ""));
  if (const IniFile* config = weights.runtime_config();
      config != nullptr && config->integer("quant_policy", 0) != 0)
    warnings.push_back(concat("quant_policy = ", config->integer("quant_policy"), " is kept; do ",
                              "not serve the new weights before they have scale files"));
  return warnings;
}

StatisticsFile statistics_behind(const StatisticsFile& before, const Equalisation& plan,
                                 const WeightDirectory& written, bool exact) {
  StatisticsFile file = before;
  file.statistics = multiplied(before.statistics, plan.layers, before.provenance.model.weight_type);
  file.provenance.equalised = {before.provenance.weights_fingerprint, exact};
  file.provenance.weights_fingerprint = weights_fingerprint(written);
  return file;
}

// Tells on stderr how much is written.
class Progress {
 public:
  Progress(bool quiet, uint64_t bytes) : reporter_(std::cerr, progress_style(quiet)), all_(bytes) {}

  void written(uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    const bool first = done_ == 0;
    done_ += bytes;
    reporter_.update(concat("writing, ", gigabytes(done_), " of ", gigabytes(all_)), first,
                     done_ == all_);
  }
  void finish() { reporter_.finish(); }

 private:
  std::mutex mutex_;
  ProgressReporter reporter_;
  const uint64_t all_;
  uint64_t done_ = 0;
};

// The ranges that factors are made of, not rounded: of sessions that are longer than the windows,
// else of these.
KvStatistics ranges_to_even(const StatisticsFile& file, const ModelConfig& model,
                            const EqualiseOptions& options) {
  const auto runtime = RuntimeChoice{.release = file.provenance.runtime}.open();
  const int64_t session =
      known_length(file, runtime->served_session(file.provenance.model, options.session_length));
  if (session == file.provenance.length) return file.statistics;
  return turned_ranges(
      file.statistics,
      largest_turns(model, session, [&](const ModelConfig& turning, int64_t length) {
        return runtime->rotation(turning, length);
      }));
}

// One run, whatever its output is.
struct Run {
  const EqualiseOptions& options;
  const WeightDirectory& weights;
  const StatisticsFile& statistics;
  const Equalisation& plan;
  const EqualisedTree& tree;

  std::string place() const {
    return (options.output.in_place ? resolved(options.weights) : *options.output.output).string();
  }

  void write(const fs::path& partial) const {
    const bool in_place = options.output.in_place;
    check_disk_space(partial, place(), bytes_on_disk(in_place ? tree.changed_bytes : tree.bytes));
    Progress progress(options.quiet, in_place ? tree.changed_bytes : tree.bytes);
    write_tree(
        weights, tree, plan.layers, partial, in_place,
        {[&](uint64_t bytes) { progress.written(bytes); }, [] { return leaving_signal() != 0; }});
    progress.finish();
    const StatisticsFile file =
        statistics_behind(statistics, plan, *open_weights(partial), options.exact);
    if (file.provenance.weights_fingerprint == statistics.provenance.weights_fingerprint &&
        (file.statistics.keys != statistics.statistics.keys ||
         file.statistics.values != statistics.statistics.values))
      warn(std::cerr,
           {"the fingerprint of the new weights is that of the old ones, as it does not look at "
            "W_q and W_k: verify takes statistics of the one for the other's"});
    write_new_file(partial / kStatisticsFileName, [&](ByteSink& sink) { file.write(sink); });
  }

  std::string text() const {
    const std::string statistics = (fs::path(place()) / kStatisticsFileName).string();
    return concat(place(), ": ", tree.files(), " files, ", gigabytes(tree.bytes), ", of them ",
                  tree.tensors.size(), " with factors, and ", kStatisticsFileName, "\n",
                  "next: kvcalib export --stats ", statistics, " --weights ", place(), " ...\n");
  }
};

// `output`: an OutputDirectory or a DirectoryExchange, opened before anything is looked at, so that
// what a killed run has left there is cleared in any case.
template <typename Output>
void equalise(const EqualiseOptions& options, Output& output,
              const std::function<std::string()>& more) {
  refuse_int4(options.weights);
  const std::unique_ptr<WeightDirectory> weights = open_weights(options.weights);
  const StatisticsFile statistics = read_statistics(options.statistics);
  refuse_equalised(statistics, *weights);
  check_same_model(statistics, options.statistics, *weights);
  const EqualisedTree tree = plan_tree(*weights);
  check_in_place(options, tree);
  UnchangedFiles inputs;
  inputs.add(weight_files(*weights));
  const Equalisation plan = plan_equalisation(
      *weights, ranges_to_even(statistics, weights->config(), options),
      options.exact ? FactorRule::kExact : FactorRule::kFree, [] { return leaving_signal() != 0; });
  warn(std::cerr, session_warnings(
                      statistics, options.statistics,
                      options.session_length.value_or(statistics.provenance.model.session_length)));
  warn(std::cerr, warnings_of(*weights, plan, tree, options.output.in_place));
  const Run run{options, *weights, statistics, plan, tree};
  output.write_tree([&](const fs::path& partial) { run.write(partial); });
  inputs.check();
  output.commit();
  output.after_commit([&] {
    warn(std::cerr, output.warnings());
    print(run.text() + more());
  });
}

}  // namespace

int run_equalise(const EqualiseOptions& options) {
  check_places(options);
  if (options.output.in_place) {
    DirectoryExchange output(options.weights);
    equalise(options, output,
             [&] { return concat("as it was: ", output.backup().string(), "\n"); });
  } else {
    OutputDirectory output(*options.output.output, options.output.force,
                           foreign_to_equalised(options.weights));
    equalise(options, output, [] { return std::string(); });
  }
  return 0;
}

}  // namespace kvcalib
