// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/commands.h"
#include "calibrate/command/devices.h"
#include "calibrate/command/planned_service.h"
#include "calibrate/report/measured_service.h"
#include "calibrate/report/standard_output.h"
#include "calibrate/service/memory_holder.h"
#include "sharding/files/error.h"
#include "sharding/ranks/rank.h"
#include "sharding/streaming/device.h"

namespace kvcalib {
namespace {

constexpr const char* kWithoutGpu = "kvcalib plan tells the memory without a GPU";

// The first of those named: all ranks in service hold the same.
int gpu_to_measure(const std::string& devices) {
  if (devices.starts_with("cpu"))
    throw UsageError(
        concat("--devices ", devices, ": --memory measures a GPU, name one; ", kWithoutGpu));
  if (!built_with_cuda())
    throw Error(concat("--memory: this program was built without CUDA; build it where nvcc is ",
                       "found, as scripts/setup.sh --cuda installs it; ", kWithoutGpu));
  if (gpu_count() == 0)
    throw Error(concat("--memory: this machine shows no GPU to measure on; check its driver and ",
                       "CUDA_VISIBLE_DEVICES; ", kWithoutGpu));
  return choose_devices(devices).devices.front().index();
}

}  // namespace

int run_memory(const EvaluateOptions& options) {
  if (rank_from_environment().world > 1)
    throw UsageError(
        "--memory: one process measures one GPU, as all ranks hold the same; start it without "
        "torchrun or srun, or unset WORLD_SIZE");
  PlannedService planned = planned_service(options.service, 0);  // its faults first
  const std::unique_ptr<MemoryHolder> holder = open_memory_holder(gpu_to_measure(options.devices));
  MeasuredService service;
  service.gpu = holder->name();
  service.card = holder->memory();
  service.context_bytes = holder->context_bytes();
  planned.load.card_bytes = service.card.total_bytes;
  service.plan = serving_plan(planned);
  for (const ServingPlan::Row& row : service.plan.rows)
    service.measured.push_back(measure(*holder, row.memory));
  print(options.json ? measured_json(service) : format_measured(service));
  return service.any_held() ? 0 : 1;
}

}  // namespace kvcalib
