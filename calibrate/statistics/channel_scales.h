// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

namespace kvcalib {

// Steps and zero points of K or V by channel, [layers, kv_heads, head_dim].
struct ChannelScales {
  std::vector<float> scale, zero;
};

}  // namespace kvcalib
