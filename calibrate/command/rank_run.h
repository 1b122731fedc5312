// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "calibrate/command/options.h"
#include "calibrate/data/windows.h"
#include "calibrate/engine/calibration_pass.h"
#include "sharding/ranks/communicator.h"
#include "sharding/ranks/rendezvous.h"
#include "sharding/streaming/trace.h"

namespace kvcalib {

// One rank's part in a calibration: joins the others, prepares its device, runs its windows.
class RankRun {
 public:
  // Returns when the device is ready.  Directory, rendezvous and trace outlive the run; `trace` may
  // be null.
  RankRun(const CalibrateOptions& options, const WeightDirectory& directory,
          const Rotation& rotation, const Rank& rank, const c10::Device& device,
          Rendezvous& rendezvous, const WindowShape& shape, Trace* trace);

  // The ranges over all ranks' windows, when every rank is through.
  KvStatistics observe(std::span<const int32_t> ids, const ProgressObserver& progress);

  Interconnect interconnect() const { return communicator_->interconnect(); }
  // What the device's memory held at most, in bytes; 0 on the CPU.
  uint64_t peak_device_bytes() const;

 private:
  const c10::Device device_;
  std::unique_ptr<Communicator> communicator_;
  CalibrationPass pass_;
};

// Throws Error when a plan does not fit into the free bytes of a device, saying what is needed,
// what there is, and the way out.
void check_memory(const MemoryPlan& plan, const std::string& device, uint64_t free_bytes,
                  uint64_t total_bytes);

// From the first rank to the others: the windows' shape, once all is checked, then their ids.
void send_shape(Rendezvous& rendezvous, const WindowShape& shape);
WindowShape receive_shape(Rendezvous& rendezvous);
void send_ids(Rendezvous& rendezvous, std::span<const int32_t> ids);
std::vector<int32_t> receive_ids(Rendezvous& rendezvous);

// From the others to the first rank, at the end.
void send_trace(Rendezvous& rendezvous, int64_t rank, const std::string& events);
// Writes the events of all ranks to `file`, whole or not at all.  Throws Error naming it.
void write_trace(Rendezvous& rendezvous, int64_t ranks, const std::string& own_events,
                 const std::filesystem::path& file);
// Throws Error when write_trace could not write there, or would replace what is no file, or a file
// without `force`.
void check_trace_place(const std::filesystem::path& file, bool force);

}  // namespace kvcalib
