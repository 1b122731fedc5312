// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/InferenceMode.h>

#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "calibrate/engine/histogram_observer.h"
#include "calibrate/engine/layer_pass.h"
#include "calibrate/engine/range_observer.h"
#include "calibrate/engine/window_visitor.h"
#include "calibrate/statistics/kv_statistics.h"
#include "sharding/formats/rotation.h"

namespace kvcalib {

// The windows that a pass takes through a model, of all ranks together.
struct PassWindows {
  Rotation rotation;
  int64_t samples = 0;
  int64_t length = 0;       // tokens
  bool histograms = false;  // are gathered beside the ranges
};

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
  // the range of every K and V channel, and the histograms that were asked for, over all of them
  // and all ranks when every rank is through, not yet rounded to the cache's type where the pass
  // computes in float32 (KvStatistics::rounded does that).  Throws Error naming layer and tensor
  // when weights or activations are not finite.
  KvStatistics run(std::span<const int32_t> ids, const ProgressObserver& progress);

 private:
  // The mode, which Torch keeps for a thread, goes on while members are made.
  CalibrationPass(const WeightDirectory& directory, const PassWindows& windows,
                  const PassSettings& settings, Communicator& communicator,
                  const c10::InferenceMode& mode);

  LayerContext make_context() const;
  WindowState make_state() const;
  WindowWork make_work();
  void warm_up();

  const WeightDirectory& directory_;
  const PassWindows windows_;
  const PassSettings settings_;
  Communicator& communicator_;
  const int64_t batch_tokens_;
  const std::pair<int64_t, int64_t> own_;  // this rank's windows, [first, last)
  LayerPass layers_;
  RangeObserver observer_;
  std::optional<HistogramObserver> histograms_;
  WindowVisitor visitor_;
};

}  // namespace kvcalib
