// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/runtimes/runtime.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {

inline constexpr const char* kCheckpointConfig = "config.json";
inline constexpr const char* kCheckpointIndex = "model.safetensors.index.json";
// Of what is to be merged into a checkpoint's config.json, as RFC 7396 merges.
inline constexpr const char* kConfigMerge = "config.merge.json";
// Tensors of scales, which are laid beside a checkpoint's own.
inline constexpr const char* kOverlay = "model-kvscales.safetensors";

// What of a model as Hugging Face distributes it is repeated in files for others.
struct Checkpoint {
  std::filesystem::path path;
  std::string architecture;  // config.json: the first of architectures
  std::string model_type;    // config.json; "" where it is not stated
  // Where the tensors of its index lie, or those of its files where it has none.
  std::map<std::string, std::string> files;
  uint64_t bytes = 0;  // of these
};

// Throws Error, with `reader` for what wants it, where `weights` is no such directory.
Checkpoint open_checkpoint(const WeightDirectory& weights, std::string_view reader);

// "model.layers.3.self_attn": a layer's attention, in the names of those that check_attention_names
// lets pass.
std::string attention_of(int64_t layer);

// Throws Error where the layers' tensors have other names than attention_of begins, as behind a
// prefix: a loader would look for them, and for their scales, in vain.
void check_attention_names(const Checkpoint& checkpoint, int64_t layers);

// The checkpoint's index with tensors added to it that lie in kOverlay and have `bytes` bytes in
// all; an index is made where the checkpoint has none, with the sum of its tensors' bytes.  Its
// other keys are kept.  Throws Error for an index that is no JSON object.
OutputFile extended_index(const Checkpoint& checkpoint, const std::vector<std::string>& added,
                          uint64_t bytes);

}  // namespace kvcalib
