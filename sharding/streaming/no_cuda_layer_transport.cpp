// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>

#include "sharding/streaming/layer_transport.h"

namespace kvcalib {

std::unique_ptr<LayerTransport> make_cuda_transport(const at::Device& /*device*/,
                                                    int64_t /*reading_threads*/, Trace* /*trace*/) {
  throw std::logic_error("make_cuda_transport: built without CUDA");
}

}  // namespace kvcalib
