// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/communicator.h"

#include "sharding/ranks/nccl_communicator.h"
#include "sharding/ranks/shared_memory_communicator.h"

namespace kvcalib {
namespace {

// A run of one rank: it has everything already.
class LoneCommunicator final : public Communicator {
 public:
  int64_t rank() const override { return 0; }
  int64_t size() const override { return 1; }
  void all_gather(const at::Tensor& /*bytes*/) override {}
  void all_reduce_minimum(const at::Tensor& /*values*/) override {}
  void barrier() override {}
  void abort() override {}
  void check() override {}
  Interconnect interconnect() const override { return {}; }
};

}  // namespace

std::unique_ptr<Communicator> make_communicator(const Rank& rank, const at::Device& device,
                                                Rendezvous& rendezvous) {
  if (rank.world == 1) return std::make_unique<LoneCommunicator>();
  if (device.is_cuda()) return std::make_unique<NcclCommunicator>(rank, device, rendezvous);
  return std::make_unique<SharedMemoryCommunicator>(rank, rendezvous);
}

}  // namespace kvcalib
