// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/rank_run.h"

#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <thread>

#include "calibrate/output/file_operations.h"
#include "calibrate/report/gigabytes.h"
#include "kernels/cuda_check.h"
#include "sharding/files/error.h"
#include "sharding/ranks/make_communicator.h"

namespace kvcalib {
namespace {

// Threads that read beside the computation.  With a GPU the processor has nothing else to do:
// twelve threads fill a PCIe 5 bus from memory, and ranks of one machine share its cores.
int64_t reading_threads(const c10::Device& device, const Communicator& communicator) {
  if (device.is_cpu()) return 2;
  const auto cores = static_cast<int64_t>(std::thread::hardware_concurrency());
  return std::clamp<int64_t>(cores / communicator.size(), 4, 12);
}

std::unique_ptr<Communicator> join(const Rank& rank, const c10::Device& device,
                                   Rendezvous& rendezvous) {
  if (device.is_cuda()) c10::cuda::set_device(device.index());
  return make_communicator(rank, device, rendezvous);
}

PassSettings settings_of(const CalibrateOptions& options, const c10::Device& device,
                         const Communicator& communicator, Trace* trace) {
  PassSettings settings;
  settings.device = device;
  settings.micro_batch_tokens = options.micro_batch_tokens;
  settings.reading_threads = reading_threads(device, communicator);
  settings.trace = trace;
  return settings;
}

// Before anything is allocated: Torch's own message would tell of the last allocation only.
PassSettings checked_settings(const CalibrateOptions& options, const WeightDirectory& directory,
                              const c10::Device& device, const Communicator& communicator,
                              const WindowShape& shape, Trace* trace) {
  const PassSettings settings = settings_of(options, device, communicator, trace);
  if (device.is_cuda()) {
    size_t free_bytes = 0, total_bytes = 0;
    CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total_bytes));
    check_memory(plan_memory(directory.config(), stored_layer_bytes(directory), shape.samples,
                             shape.length, communicator.size(), settings),
                 device.str(), free_bytes, total_bytes);
  }
  return settings;
}

std::string trace_name(int64_t rank) { return concat("trace-", rank); }

template <typename T>
std::string_view as_bytes(std::span<const T> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

}  // namespace

RankRun::RankRun(const CalibrateOptions& options, const WeightDirectory& directory,
                 const Rotation& rotation, const Rank& rank, const c10::Device& device,
                 Rendezvous& rendezvous, const WindowShape& shape, Trace* trace)
    : device_(device),
      communicator_(join(rank, device, rendezvous)),
      pass_(directory, rotation, shape.samples, shape.length, *communicator_,
            checked_settings(options, directory, device, *communicator_, shape, trace)) {}

KvStatistics RankRun::observe(std::span<const int32_t> ids, const ProgressObserver& progress) {
  KvStatistics statistics = pass_.run(ids, progress);
  communicator_->barrier();  // nothing is delivered before every rank is through
  return statistics;
}

uint64_t RankRun::peak_device_bytes() const {
  if (device_.is_cpu()) return 0;
  const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(device_.index());
  return static_cast<uint64_t>(stats.reserved_bytes[0].peak);
}

void check_memory(const MemoryPlan& plan, const std::string& device, uint64_t free_bytes,
                  uint64_t total_bytes) {
  if (plan.total() <= free_bytes) return;
  throw Error(concat(device, ": ", gigabytes(plan.total()), " are needed (two layers ",
                     gigabytes(plan.layers), ", activations ", gigabytes(plan.activations),
                     ", micro-batch ", gigabytes(plan.micro_batch), "), ", gigabytes(free_bytes),
                     " of ", gigabytes(total_bytes),
                     " are free; use a smaller --micro-batch, more ",
                     "GPUs or fewer --samples, and see what else runs there"));
}

void send_shape(Rendezvous& rendezvous, const WindowShape& shape) {
  const std::array<int64_t, 2> values = {shape.samples, shape.length};
  rendezvous.set("shape", as_bytes(std::span<const int64_t>(values)));
}

WindowShape receive_shape(Rendezvous& rendezvous) {
  const std::string message = rendezvous.get("shape");
  std::array<int64_t, 2> values{};
  TORCH_CHECK(message.size() == sizeof(values), "the shape of the windows is damaged");
  std::memcpy(values.data(), message.data(), sizeof(values));
  return {values[0], values[1]};
}

void send_ids(Rendezvous& rendezvous, std::span<const int32_t> ids) {
  rendezvous.set("ids", as_bytes(ids));
}

std::vector<int32_t> receive_ids(Rendezvous& rendezvous) {
  const std::string message = rendezvous.get("ids");
  std::vector<int32_t> ids(message.size() / sizeof(int32_t));
  std::memcpy(ids.data(), message.data(), ids.size() * sizeof(int32_t));
  return ids;
}

void send_trace(Rendezvous& rendezvous, int64_t rank, const std::string& events) {
  rendezvous.set(trace_name(rank), events);
}

void write_trace(Rendezvous& rendezvous, int64_t ranks, const std::string& own_events,
                 const std::filesystem::path& file) {
  std::vector<std::string> events = {own_events};
  for (int64_t rank = 1; rank < ranks; ++rank) events.push_back(rendezvous.get(trace_name(rank)));
  std::filesystem::path temporary = file;
  temporary += concat(".", getpid());
  write_new_file(temporary, chrome_trace(events, Trace::microseconds_at_start()));
  rename_path(temporary, file);
}

void check_trace_place(const std::filesystem::path& file, bool force) {
  if (!file.has_filename()) throw Error(concat("--trace '", file.string(), "': names no file"));
  const std::filesystem::path parent = file.has_parent_path() ? file.parent_path() : ".";
  if (access(parent.c_str(), W_OK | X_OK) != 0) throw_system_error(parent, "--trace cannot write");
  if (!is_there(file)) return;
  if (!is_plain_file(file))
    throw Error(concat("--trace ", file.string(), ": is no file; name one, or a new name"));
  if (!force)
    throw Error(concat("--trace ", file.string(), ": is there already; --force replaces it"));
}

}  // namespace kvcalib
