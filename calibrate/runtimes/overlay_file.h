// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/runtimes/checkpoint.h"
#include "calibrate/runtimes/exported_directory.h"
#include "calibrate/runtimes/runtime.h"
#include "sharding/files/safetensors.h"

namespace kvcalib {

using OverlayTensors = std::map<std::string, SafetensorsTensor>;

// Little-endian.
std::string float32_bytes(const std::vector<float>& values);

// As messages name several: "'a' (and 3 more)".
std::string some_of(const std::vector<std::string>& names);

// A safetensors file's bytes.
std::string safetensors_of(const OverlayTensors& tensors);

// kOverlay with these tensors, and the checkpoint's index with their names.
std::vector<OutputFile> overlay_files(const Checkpoint& checkpoint, const OverlayTensors& tensors);
bool is_overlay_file(std::string_view file);

// The overlay of a directory, read back as loaders do: by its index.
struct OverlayFile {
  OverlayTensors tensors;
  std::map<std::string, std::string> files;  // as the index says where tensors lie
  int64_t layers = 0;  // of the model, or where nothing else says it, as many as the index names
};

// A name that `of` lists for a layer and that the index does not send to a file that holds it is a
// fault, as is one of a layer that the model lacks; a model.safetensors beside is a note.  Throws
// Error for a file that cannot be read.
OverlayFile read_overlay(const ExportedDirectory& directory,
                         std::vector<std::string> (*of)(int64_t layer), VerifyReport& report);

}  // namespace kvcalib
