// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <string>
#include <vector>

#include "sharding/ranks/rank.h"

namespace kvcalib {

// The devices of a run on this machine, one rank each.
struct DeviceList {
  std::vector<c10::Device> devices;

  int64_t ranks() const { return static_cast<int64_t>(devices.size()); }
  std::string text() const;  // "cpu", "2 CPU ranks", "cuda:0, cuda:1"
};

// Reads --devices: cpu, cpu:N, gpu (all), gpu:N, or GPU numbers as 0,2,3; empty: every GPU, or the
// CPU where there is none.  Throws UsageError for another text, Error for GPUs that are not there.
// `planned`: only to plan for, they need not be there.
DeviceList choose_devices(const std::string& text, bool planned = false);

// Throws Error when the kernels do not run on such a GPU (compute capability below 8.0) or flash
// attention does not take such heads.  The CPU takes all.
void check_device(const c10::Device& device, int64_t head_dim);

// The device of this rank.  Throws UsageError when more ranks were started here than there are
// devices.
c10::Device device_of(const Rank& rank, const DeviceList& devices);

}  // namespace kvcalib
