// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>

#include "sharding/ranks/nccl_communicator.h"
#include "sharding/ranks/nccl_log.h"

namespace kvcalib {

void prepare_nccl() {}

std::unique_ptr<Communicator> make_nccl_communicator(const Rank& /*rank*/,
                                                     const at::Device& /*device*/,
                                                     Rendezvous& /*rendezvous*/) {
  throw std::logic_error("make_nccl_communicator: built without CUDA");
}

}  // namespace kvcalib
