// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "calibrate/command/options.h"
#include "calibrate/command/planned_model.h"
#include "calibrate/report/serving_table.h"
#include "calibrate/runtimes/turbomind/memory_settings.h"
#include "calibrate/runtimes/turbomind/releases.h"
#include "calibrate/runtimes/turbomind/serving_load.h"

namespace kvcalib {

// A model as a release would serve it.
struct PlannedService {
  const TurboMindRelease& release;
  PlannedModel model;
  ModelConfig config;  // as served: cut for the load's ranks, with its sessions' length
  MemorySettings settings;
  ServingLoad load;  // `sessions` aside
  std::vector<int64_t> sessions;
};

// On GPUs of `card_bytes`.  Throws UsageError for a prompt longer than a session; Error for what is
// no model, for what that release cannot serve with int8, and for settings that cannot be.
PlannedService planned_service(const ServiceOptions& options, uint64_t card_bytes);

// Of each number of sessions a row with 16 bits and one with int8; the figures for GPUs aside.
ServingPlan serving_plan(const PlannedService& service);

}  // namespace kvcalib
