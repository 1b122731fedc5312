// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "calibrate/engine/pass_plan.h"
#include "calibrate/statistics/kv_statistics.h"
#include "sharding/formats/rotation.h"
#include "sharding/formats/weight_directory.h"
#include "sharding/ranks/communicator.h"
#include "sharding/streaming/reading_cost.h"

namespace kvcalib {

// The calibration windows: ids [samples, length] row-major, the same on every rank.
struct WindowIds {
  std::span<const int32_t> ids;
  int64_t samples = 0;
  int64_t length = 0;
};

// Where a pass stands; given after every layer.
struct PassProgress {
  int64_t layers_done = 0, layers = 0;
  int64_t tokens = 0;  // of all ranks, per layer
  double seconds = 0;  // since the first layer was asked for
  ReadingCost reading;
};
using ProgressObserver = std::function<void(const PassProgress&)>;

// One rank's part in running windows through a model.
class CalibrationPass {
 public:
  // Takes the device's memory and starts to read the first layer; on a GPU also runs a layer on
  // whatever that memory holds, so that kernels are loaded and libraries are ready before the first
  // real one.  Directory and communicator outlive the pass.
  CalibrationPass(const WeightDirectory& directory, const Rotation& rotation, int64_t samples,
                  int64_t length, Communicator& communicator, const PassSettings& settings);
  ~CalibrationPass();
  CalibrationPass(const CalibrationPass&) = delete;
  CalibrationPass& operator=(const CalibrationPass&) = delete;

  // Runs the windows, once, and returns the range of every K and V channel over all of them and all
  // ranks, not yet rounded to the cache's type where the pass computes in float32
  // (KvStatistics::rounded does that).  Throws Error naming layer and tensor when weights or
  // activations are not finite.
  KvStatistics run(std::span<const int32_t> ids, const ProgressObserver& progress);
  // The same where settings.observe is false: nothing is known of K and V.
  void run_unobserved(std::span<const int32_t> ids, const ProgressObserver& progress);

 private:
  class RankPass;
  std::unique_ptr<RankPass> rank_pass_;
};

// A pass from beginning to end.
KvStatistics run_calibration_pass(const WeightDirectory& directory, const Rotation& rotation,
                                  const WindowIds& windows, Communicator& communicator,
                                  const PassSettings& settings, const ProgressObserver& progress);

}  // namespace kvcalib
