// SPDX-License-Identifier: Apache-2.0
#include "sharding/streaming/device.h"

#include <c10/core/impl/VirtualGuardImpl.h>

namespace kvcalib {

using Backend = c10::impl::VirtualGuardImpl;

void set_gpu(const c10::Device& gpu) { Backend(gpu.type()).setDevice(gpu); }

void synchronize_gpu(const c10::Device& gpu) { Backend(gpu.type()).synchronizeDevice(gpu.index()); }

void GpuEvent::record(const c10::Device& gpu) {
  if (!event_) {
    event_.emplace(gpu.type(), kind_ == Kind::kTimed ? c10::EventFlag::BACKEND_DEFAULT
                                                     : c10::EventFlag::PYTORCH_DEFAULT);
  }
  event_->record(Backend(gpu.type()).getStream(gpu));
}

void GpuEvent::synchronize() const {
  if (event_) event_->synchronize();
}

double GpuEvent::seconds_to(const GpuEvent& later) const {
  return event_.value().elapsedTime(later.event_.value()) / 1e3;
}

}  // namespace kvcalib
