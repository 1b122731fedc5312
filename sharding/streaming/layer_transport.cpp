// SPDX-License-Identifier: Apache-2.0
#include "sharding/streaming/layer_transport.h"

namespace kvcalib {

uint64_t LayerTransport::bytes_of(const std::vector<ImagePiece>& pieces) {
  uint64_t bytes = 0;
  for (const ImagePiece& piece : pieces) bytes += piece.bytes;
  return bytes;
}

uint64_t LayerTransport::gathered_bytes(const at::Tensor& image, const Communicator& communicator) {
  return static_cast<uint64_t>(image.numel() / communicator.size() * (communicator.size() - 1));
}

}  // namespace kvcalib
