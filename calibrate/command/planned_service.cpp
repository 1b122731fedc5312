// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/planned_service.h"

#include <algorithm>
#include <string>

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

// A directory's session_len is cut to what the release serves, as calibrate cuts it in config.ini.
ModelConfig in_service(const PlannedModel& model, const ServiceOptions& options,
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

ServingLoad load_of(const ServiceOptions& options, const ModelConfig& config, uint64_t card_bytes) {
  ServingLoad load;
  load.ranks = config.stored_ranks;
  load.session_tokens = config.session_length;
  load.prompt_tokens = options.prompt_tokens.value_or(load.session_tokens);
  if (load.prompt_tokens > load.session_tokens)
    throw UsageError(concat("--prompt ", load.prompt_tokens, ": longer than a session of ",
                            load.session_tokens, " tokens; give a longer --session"));
  load.card_bytes = card_bytes;
  return load;
}

}  // namespace

PlannedService planned_service(const ServiceOptions& options, uint64_t card_bytes) {
  PlannedService service = {.release = find_turbomind_release(options.runtime.release),
                            .model = planned_model(options.weights),
                            .config = {},
                            .settings = {},
                            .load = {},
                            .sessions = options.sessions};
  service.config = in_service(service.model, options, service.release);
  check_service(service.config, service.release);
  const WeightDirectory* const directory = service.model.directory.get();
  service.settings = memory_settings(service.release,
                                     directory == nullptr ? nullptr : directory->runtime_config());
  service.load = load_of(options, service.config, card_bytes);
  if (service.sessions.empty())
    service.sessions = {std::max<int64_t>(1, service.settings.max_batch_size)};
  return service;
}

ServingPlan serving_plan(const PlannedService& service) {
  ServingPlan plan;
  plan.config = service.config;
  plan.runtime = service.release.name();
  plan.settings = service.settings.text();
  plan.load = service.load;
  plan.notes = memory_notes(service.release, service.settings);
  for (const int64_t at_once : service.sessions) {
    ServingLoad load = plan.load;
    load.sessions = at_once;
    for (const CacheType type : {CacheType::kSixteenBits, CacheType::kInt8})
      plan.rows.push_back(
          {at_once, type,
           serving_memory(plan.config, service.release, service.settings, load, type)});
  }
  return plan;
}

}  // namespace kvcalib
