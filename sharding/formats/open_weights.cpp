// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/open_weights.h"

#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"
#include "sharding/formats/hugging_face_directory.h"
#include "sharding/formats/model_surroundings.h"
#include "sharding/formats/turbomind_directory.h"
#include "sharding/formats/turbomind_layout.h"

namespace kvcalib {

namespace fs = std::filesystem;

std::unique_ptr<WeightDirectory> open_weights(const fs::path& directory) {
  if (kind_behind(directory / kTurboMindConfig) != FileKind::kNothing ||
      kind_behind(directory) != FileKind::kDirectory)
    return std::make_unique<TurboMindDirectory>(TurboMindDirectory::open(directory));
  if (is_hugging_face(directory)) return HuggingFaceDirectory::open(directory);
  refuse_lone_adapter(directory);
  throw Error(concat(directory.string(), ": holds neither config.ini nor config.json; --weights ",
                     "wants a TurboMind weights directory, as workspace/triton_models/weights, or ",
                     "a Hugging Face model"));
}

}  // namespace kvcalib
