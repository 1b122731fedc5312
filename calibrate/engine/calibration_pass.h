// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/InferenceMode.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>

#include "calibrate/engine/pass_plan.h"
#include "calibrate/engine/range_observer.h"
#include "calibrate/engine/window_visitor.h"
#include "calibrate/statistics/kv_statistics.h"
#include "sharding/formats/rotation.h"
#include "sharding/formats/weight_directory.h"
#include "sharding/ranks/communicator.h"
#include "sharding/streaming/layer_stream.h"
#include "sharding/streaming/pass_progress.h"

namespace kvcalib {

// The windows that a pass takes through a model, of all ranks together.
struct PassWindows {
  Rotation rotation;
  int64_t samples = 0;
  int64_t length = 0;  // tokens
};

// Told after every layer.
using ProgressObserver = std::function<void(const PassProgress&)>;

// One rank's part in a calibration: its windows run through a model whose layers all ranks read
// together.
class CalibrationPass {
 public:
  // Takes the device's memory and starts to read the first layer; on a GPU also runs a layer on
  // whatever that memory holds, so that kernels are loaded and libraries are ready before the first
  // real one.  Directory and communicator outlive the pass.
  CalibrationPass(const WeightDirectory& directory, const PassWindows& windows,
                  const PassSettings& settings, Communicator& communicator);
  CalibrationPass(const CalibrationPass&) = delete;
  CalibrationPass& operator=(const CalibrationPass&) = delete;

  // Runs the windows, once: their ids [samples, length] row-major, the same on every rank.  Returns
  // the range of every K and V channel over all of them and all ranks when every rank is through,
  // not yet rounded to the cache's type where the pass computes in float32 (KvStatistics::rounded
  // does that).  Throws Error naming layer and tensor when weights or activations are not finite.
  KvStatistics run(std::span<const int32_t> ids, const ProgressObserver& progress);

 private:
  using Clock = std::chrono::steady_clock;

  // The mode, which Torch keeps for a thread, goes on while members are made.
  CalibrationPass(const WeightDirectory& directory, const PassWindows& windows,
                  const PassSettings& settings, Communicator& communicator,
                  const c10::InferenceMode& mode);

  LayerContext make_context() const;
  WindowState make_state() const;
  void warm_up();
  void report(int64_t layer) const;

  const WeightDirectory& directory_;
  const PassWindows windows_;
  const PassSettings settings_;
  Communicator& communicator_;
  const int64_t batch_tokens_;
  const std::pair<int64_t, int64_t> own_;  // this rank's windows, [first, last)
  LayerStream stream_;
  // Goes before the stream, whose reader may be waiting for the other ranks.
  const AbortOnFailure abort_on_failure_;
  RangeObserver observer_;
  WindowVisitor visitor_;
  ProgressObserver progress_;
  Clock::time_point start_;
};

}  // namespace kvcalib
