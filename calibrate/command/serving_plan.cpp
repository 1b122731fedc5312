// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "calibrate/command/commands.h"
#include "calibrate/command/planned_model.h"
#include "calibrate/data/window_request.h"
#include "calibrate/engine/pass_plan.h"
#include "calibrate/engine/score_pass.h"
#include "calibrate/report/serving_table.h"
#include "calibrate/report/standard_output.h"
#include "calibrate/runtimes/turbomind/rules.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

// Throws Error with what speaks against serving the model so with int8, one reason a line.
void check_service(const ModelConfig& config, const TurboMindRelease& release) {
  const RuntimeFindings found =
      findings_in_config({config, config.stored_ranks, 0, 0, false}, release);
  const std::vector<std::string> faults =
      found.faults.empty() ? deploy_faults(config, release, config.stored_ranks) : found.faults;
  if (!faults.empty()) throw Error(concat("int8 KV cannot be served so:\n", in_lines(faults)));
}

ServingLoad load_of(const PlanOptions& options, const ModelConfig& config) {
  ServingLoad load;
  load.ranks = config.stored_ranks;
  load.session_tokens = config.session_length;
  load.prompt_tokens = options.prompt_tokens.value_or(load.session_tokens);
  if (load.prompt_tokens > load.session_tokens)
    throw UsageError(concat("--prompt ", load.prompt_tokens, ": longer than a session of ",
                            load.session_tokens, " tokens; see kvcalib plan --help"));
  load.card_bytes = static_cast<uint64_t>(options.card_gigabytes) << 30U;
  return load;
}

// Two layers and the activations of the default windows on GPUs.
uint64_t calibration_bytes(const PlannedModel& model, int64_t ranks) {
  const WindowRequest windows;
  PassSettings settings;
  settings.device = c10::kCUDA;
  return plan_memory(model.config, model.layer_bytes, windows.samples, windows.length, ranks,
                     settings)
      .total();
}

// The cache in 16 bits beside one of int8.
uint64_t evaluation_bytes(const PlannedModel& model) {
  PassSettings settings;
  settings.device = c10::kCUDA;
  const int64_t tokens = default_micro_batch(settings.device);
  return plan_score_memory(model.config, model.layer_bytes,
                           {.tokens = tokens, .longest_tree = tokens, .streams = 2}, settings)
      .total();
}

// A directory's session_len is cut to what the release serves, as calibrate cuts it in config.ini.
ModelConfig in_service(const PlannedModel& model, const PlanOptions& options,
                       const TurboMindRelease& release) {
  const int64_t longest = release.longest_int8_prefill;
  if (longest > 0 && options.session_tokens.value_or(0) > longest)
    throw Error(concat(
        "--session ", *options.session_tokens, ": ", release.name(), " prefills int8 KV for up to ",
        longest, " tokens only; serve longer ", "sessions with ",
        since([](const TurboMindRelease& later) { return later.longest_int8_prefill == 0; })));
  ModelConfig config = model.config;
  config.stored_ranks = options.ranks.value_or(config.stored_ranks);
  if (config.session_length == 0) config.session_length = kUsualSessionTokens;
  if (longest > 0) config.session_length = std::min(config.session_length, longest);
  if (options.session_tokens) config.session_length = *options.session_tokens;
  return config;
}

}  // namespace

int run_plan(const PlanOptions& options) {
  const TurboMindRelease& release = find_turbomind_release(options.runtime.release);
  const PlannedModel model = planned_model(options.weights);
  const ModelConfig config = in_service(model, options, release);
  check_service(config, release);
  const MemorySettings settings =
      memory_settings(release, model.directory ? model.directory->runtime_config() : nullptr);

  ServingPlan plan;
  plan.config = config;
  plan.runtime = release.name();
  plan.settings = settings.text();
  plan.load = load_of(options, config);
  plan.calibration_bytes = calibration_bytes(model, config.stored_ranks);
  plan.evaluation_bytes = evaluation_bytes(model);
  plan.notes = memory_notes(release, settings);
  std::vector<int64_t> sessions = options.sessions;
  if (sessions.empty()) sessions = {std::max<int64_t>(1, settings.max_batch_size)};
  for (const int64_t at_once : sessions) {
    ServingLoad load = plan.load;
    load.sessions = at_once;
    for (const CacheType type : {CacheType::kSixteenBits, CacheType::kInt8})
      plan.rows.push_back({at_once, type, serving_memory(config, release, settings, load, type)});
  }
  plan.fitting_sixteen_bits =
      sessions_that_fit(config, release, settings, plan.load, CacheType::kSixteenBits);
  plan.fitting_int8 = sessions_that_fit(config, release, settings, plan.load, CacheType::kInt8);
  plan.limited_by_entries =
      !release.pages_cache &&
      static_cast<double>(std::max(plan.fitting_sixteen_bits, plan.fitting_int8)) ==
          std::floor(settings.cache_max_entry_count);
  print(options.json ? serving_json(plan) : format_serving(plan));
  return 0;
}

}  // namespace kvcalib
