// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/make_communicator.h"

#include "sharding/ranks/lone_communicator.h"
#include "sharding/ranks/nccl_communicator.h"
#include "sharding/ranks/shared_memory_communicator.h"

namespace kvcalib {

std::unique_ptr<Communicator> make_communicator(const Rank& rank, const at::Device& device,
                                                Rendezvous& rendezvous) {
  if (rank.world == 1) return std::make_unique<LoneCommunicator>();
  if (device.is_cuda()) return make_nccl_communicator(rank, device, rendezvous);
  return std::make_unique<SharedMemoryCommunicator>(rank, rendezvous);
}

}  // namespace kvcalib
