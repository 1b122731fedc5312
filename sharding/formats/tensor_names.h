// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "sharding/formats/model_family.h"
#include "sharding/formats/safetensors_index.h"

namespace kvcalib {

// How a directory names a model's tensors: as its family does, or all of them with other words in
// front, as torch.compile (_orig_mod.), DistributedDataParallel (module.) and models with more than
// text (language_model.) have them, or without the family's own.
class TensorNames {
 public:
  // Throws Error, `origin` first, where there are tensors of several models.
  TensorNames(const SafetensorsIndex& index, const ModelFamily& family, const std::string& origin);

  // The name here of what the family calls so.
  std::string stored(std::string_view name) const;

 private:
  std::string own_;    // before the tensors of the layers in the family: "model."
  std::string inner_;  // here in its place
  std::string outer_;  // here before the head
};

}  // namespace kvcalib
