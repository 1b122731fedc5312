// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace kvcalib {

// quantization.kv_cache_quant_algo of config.json.
inline constexpr const char* kCacheAlgorithm = "INT8";

// "rank0.safetensors", and whether a name is such a one.
std::string rank_file(int64_t rank);
bool is_rank_file(std::string_view file);

std::string rank_tensor(int64_t layer);

// The scales of a rank's file, which may hold a whole model beside them: of that nothing is read.
struct RankScales {
  std::vector<float> scales;             // [layers]; NaN for what is not there or of another form
  std::vector<std::string> missing;      // tensors
  std::vector<std::string> malformed;    // faults: of another type or shape than F32 [1]
  std::vector<std::string> superfluous;  // of layers that the model lacks
};

// Throws Error for a file that cannot be read.
RankScales read_rank_scales(const std::filesystem::path& file, int64_t layers);

// How many layers, from the first on, have a scale in the file.
int64_t layers_of_rank(const std::filesystem::path& file);

}  // namespace kvcalib
