// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "calibrate/equalise/factors.h"
#include "sharding/files/byte_sink.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// A tensor of a layer that takes factors, and where it lies.
struct EqualisedTensor {
  int64_t layer = 0;
  FileRange range;
};

// Those of a directory, by the names of their files, in the order in which they lie there.
using EqualisedTensors = std::map<std::string, std::vector<EqualisedTensor>>;
EqualisedTensors equalised_tensors(const WeightDirectory& weights);

// Copies a file of `weights` from front to end, its `tensors` multiplied by the factors of their
// layers, every other byte as it is.  Holds a piece of 1 MiB.  `told` is called with the bytes of
// each piece and may throw.  Throws Error naming the file that cannot be read, and the tensor that
// holds NaN or Inf or would.
void copy_equalised(const WeightDirectory& weights, const std::filesystem::path& file,
                    const std::vector<EqualisedTensor>& tensors,
                    const std::vector<LayerFactors>& layers,
                    const std::function<void(uint64_t bytes)>& told, ByteSink& sink);

}  // namespace kvcalib
