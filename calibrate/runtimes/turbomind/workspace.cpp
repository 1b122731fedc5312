// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/workspace.h"

#include <algorithm>

#include "calibrate/data/tokenizer_folder.h"
#include "calibrate/output/file_operations.h"
#include "calibrate/runtimes/turbomind/config_patch.h"
#include "calibrate/runtimes/turbomind/deployed_config.h"
#include "calibrate/runtimes/turbomind/rules.h"
#include "calibrate/runtimes/turbomind/scale_files.h"
#include "sharding/files/error.h"
#include "sharding/files/json_reader.h"
#include "sharding/files/metadata_file.h"
#include "sharding/formats/turbomind_directory.h"
#include "sharding/writing/table_rows.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

constexpr const char* kWeights = "weights";
constexpr const char* kTokenizer = "tokenizer";

void refuse_faults(const fs::path& weights, const std::vector<std::string>& faults) {
  if (!faults.empty()) throw Error(in_lines(faults, concat(weights.string(), ": ")));
}

// Throws UsageError for a name that would not be read back from config.ini as it is.
void check_model_name(const std::string& name) {
  const bool printable = std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return c >= ' ' && c != 0x7f && c != '%';  // Python's configparser, too, reads it
  });
  const std::string key = "model_name";
  if (printable && IniFile::parse("[llama]\n", "").with(key, name).find(key) == name &&
      IniFile::parse(concat("[llama]\n", key, " = ", name, "\n"), "").find(key) == name)
    return;
  throw UsageError(concat("--model-name ", json_excerpt(name),
                          ": config.ini cannot hold this; expected ",
                          "the name of a chat template, as llama2"));
}

// What of config.ini the release would refuse with int8 scales.
void warn_of_int8(Workspace& workspace, const TurboMindRelease& release, int64_t ranks) {
  const IniFile config = patch_config(IniFile::parse(workspace.config, kTurboMindConfig), release);
  const ModelConfig model = read_model_config(config);
  for (const std::string& fault :
       findings_in_config(
           {.config = model, .ranks = ranks, .embedding_rows = workspace.cut.table_rows}, release)
           .faults)
    workspace.warnings.push_back(concat("no int8 KV with these weights: ", fault));
}

// Weights that a runtime reads already, whose config.ini stays but for what the cut changes.
Workspace of_runtime_weights(const WeightDirectory& source, const TurboMindRelease& release,
                             int64_t ranks, const std::string& model_name) {
  const ModelConfig& model = source.config();
  Workspace workspace;
  workspace.cut = {ranks, model.weight_type,
                   deployed_rows(rows_without_padding(source), release, ranks), true};
  IniFile config = source.runtime_config()->with("tensor_para_size", std::to_string(ranks));
  if (!model_name.empty()) {
    check_model_name(model_name);
    config = config.with("model_name", model_name);
  }
  if (config.integer("quant_policy", 0) != 0 && ranks != model.stored_ranks)
    workspace.warnings.push_back(
        concat("quant_policy = ", config.integer("quant_policy"), " is kept; scale files are ",
               "another matter: make those of ", ranks, " ranks with kvcalib export"));
  workspace.config = config.text();
  warn_of_int8(workspace, release, ranks);
  workspace.tokenizer = tokenizer_files_of_weights(source.path());
  return workspace;
}

Workspace of_model(const WeightDirectory& source, const TurboMindRelease& release, int64_t ranks,
                   const std::string& model_name) {
  const ModelConfig& model = source.config();
  if (model_name.empty())
    throw UsageError(concat("--model-name NAME is missing: ", release.name(), " looks a chat ",
                            "template up by it, as llama2 or internlm-chat-7b; llama has none; ",
                            "see kvcalib shard --help"));
  check_model_name(model_name);
  const int64_t rows = source.embedding().rows;
  const BoundaryIds ids = boundary_ids(source.path());
  Workspace workspace{
      {ranks, deployed_type(model, release), deployed_rows(rows, release, ranks),
       release.normalises_head},
      deployed_config(model, release, {model_name, ranks, rows, ids.start, ids.end}),
      tokenizer_files_of_model(source.path()),
      ids.warnings};
  warn_of_int8(workspace, release, ranks);
  return workspace;
}

bool is_weight_file(const std::string& name) {
  return name == kTurboMindConfig ||
         ((name.ends_with(".weight") || name.ends_with(".bias")) && !parse_scale_file_name(name));
}

}  // namespace

Workspace plan_workspace(const WeightDirectory& source, const TurboMindRelease& release,
                         int64_t ranks, const std::string& model_name) {
  refuse_faults(source.path(), deploy_faults(source.config(), release, ranks));
  const bool of_runtime = source.runtime_config() != nullptr;
  Workspace workspace = of_runtime ? of_runtime_weights(source, release, ranks, model_name)
                                   : of_model(source, release, ranks, model_name);
  workspace.warnings.insert(workspace.warnings.begin(), source.warnings().begin(),
                            source.warnings().end());
  if (workspace.tokenizer.empty())
    workspace.warnings.push_back(concat(source.path().string(), ": no tokenizer is beside the ",
                                        "weights; the folder tokenizer is left empty"));
  return workspace;
}

void write_workspace(const WeightDirectory& source, const Workspace& workspace,
                     const fs::path& directory, const WritingObserver& observer) {
  const fs::path weights = directory / kWeights;
  const fs::path tokenizer = directory / kTokenizer;
  make_directory(weights);
  make_directory(tokenizer);
  for (const fs::path& file : workspace.tokenizer)
    write_new_file(tokenizer / file.filename(), read_metadata_file(file));
  write_new_file(weights / kTurboMindConfig, workspace.config);
  write_turbomind_weights(source, workspace.cut, weights, observer);
  sync_directory(tokenizer);
  sync_directory(weights);
}

std::optional<std::string> foreign_to_workspace(const fs::path& directory) {
  for (const std::string& name : list_directory(directory)) {
    if ((name != kWeights && name != kTokenizer) || !is_plain_directory(directory / name))
      return name;
    for (const std::string& file : list_directory(directory / name)) {
      if (!is_plain_file(directory / name / file) || (name == kWeights && !is_weight_file(file)))
        return name + "/" + file;
    }
  }
  return std::nullopt;
}

}  // namespace kvcalib
