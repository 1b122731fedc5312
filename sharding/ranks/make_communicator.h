// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "sharding/ranks/communicator.h"
#include "sharding/ranks/rendezvous.h"

namespace kvcalib {

// The communicator for tensors on `device`: none for one rank, NCCL between GPUs, shared memory
// between CPU ranks of one machine.  Throws Error when the ranks cannot talk, PeerLost when one of
// them ended meanwhile.  `rendezvous` outlives it.
std::unique_ptr<Communicator> make_communicator(const Rank& rank, const at::Device& device,
                                                Rendezvous& rendezvous);

}  // namespace kvcalib
