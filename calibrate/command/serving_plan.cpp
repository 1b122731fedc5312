// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "calibrate/command/commands.h"
#include "calibrate/command/planned_service.h"
#include "calibrate/data/window_request.h"
#include "calibrate/engine/pass_plan.h"
#include "calibrate/engine/score_pass.h"
#include "calibrate/report/standard_output.h"

namespace kvcalib {
namespace {

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

}  // namespace

int run_plan(const PlanOptions& options) {
  const PlannedService service =
      planned_service(options.service, static_cast<uint64_t>(options.card_gigabytes) << 30U);
  ServingPlan plan = serving_plan(service);
  plan.calibration_bytes = calibration_bytes(service.model, service.config.stored_ranks);
  plan.evaluation_bytes = evaluation_bytes(service.model);
  const auto fitting = [&](CacheType type) {
    return sessions_that_fit(service.config, service.release, service.settings, service.load, type);
  };
  plan.fitting_sixteen_bits = fitting(CacheType::kSixteenBits);
  plan.fitting_int8 = fitting(CacheType::kInt8);
  plan.limited_by_entries =
      !service.release.pages_cache &&
      static_cast<double>(std::max(plan.fitting_sixteen_bits, plan.fitting_int8)) ==
          std::floor(service.settings.cache_max_entry_count);
  print(options.json ? serving_json(plan) : format_serving(plan));
  return 0;
}

}  // namespace kvcalib
