// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/run_on_ranks.h"

#include "sharding/files/leave_by_signal.h"
#include "sharding/ranks/launcher.h"
#include "sharding/ranks/nccl_log.h"

namespace kvcalib {

int run_on_ranks(const Rank& rank, const DeviceList& devices,
                 const std::vector<std::string>& arguments, const RankedWork& work) {
  if (!rank.launched && devices.ranks() > 1) {
    const BeforeLeaving leaving([&work](int) {  // after what the launcher does then
      work.clear_leftovers();
      return std::string();
    });
    const int exit_code = launch_ranks(devices.ranks(), arguments);
    if (exit_code != 0) work.clear_leftovers();
    return exit_code;
  }
  const c10::Device device = device_of(rank, devices);
  if (rank.world > 1 && device.is_cuda()) prepare_nccl();
  return (rank.index > 0 ? work.further : work.first)(rank, device);
}

}  // namespace kvcalib
