// SPDX-License-Identifier: Apache-2.0
// Rank files of TensorRT-LLM as they were made, and with a whole model's tensors in them.
#include <gtest/gtest.h>

#include <fstream>

#include "calibrate/runtimes/overlay_file.h"
#include "sharding/files/safetensors_header.h"
#include "tests/runtimes/exporter_fixture.h"

namespace kvcalib {
namespace {

using namespace fixture;
using Tensors = std::map<std::string, SafetensorsTensor>;

constexpr uint64_t kWeightBytes = uint64_t{300} << 20;  // more than is read of metadata

class VerifyRankFiles : public ExporterTest {
 protected:
  void put_config(const nlohmann::json& mapping) {
    nlohmann::json config = {{"num_hidden_layers", kLayers},
                             {"quantization", {{"kv_cache_quant_algo", "INT8"}}}};
    if (!mapping.empty()) config["mapping"] = mapping;
    put(output_, {{"config.json", config.dump()}});
  }
  // The file's tensors with a weight beside them, of which the disk holds nothing.
  void merge_weight(const std::string& file) {
    const Safetensors scales = Safetensors::read(output_ / file);
    SafetensorsHeader header;
    std::string bytes;
    for (const auto& [name, tensor] : scales.tensors) {
      header.tensors[name] = {tensor.dtype, tensor.shape, bytes.size(),
                              bytes.size() + tensor.bytes.size()};
      bytes += tensor.bytes;
    }
    header.tensors["transformer.weight"] = {
        "I8", {static_cast<int64_t>(kWeightBytes)}, bytes.size(), bytes.size() + kWeightBytes};
    const std::string begin = header.to_bytes();
    put(output_, {{file, begin + bytes}});
    std::filesystem::resize_file(output_ / file, begin.size() + bytes.size() + kWeightBytes);
  }
};

TEST_F(VerifyRankFiles, AMergedCheckpoint) {
  put_files("tensorrt-llm", 2);
  put_config({{"tp_size", 2}, {"pp_size", 1}});
  for (const char* const file : {"rank0.safetensors", "rank1.safetensors"}) merge_weight(file);
  EXPECT_EQ(in_lines(faults("tensorrt-llm")), "");
  std::filesystem::remove(output_ / "config.json");
  std::filesystem::remove(output_ / kStatisticsFileName);
  EXPECT_EQ(in_lines(faults("tensorrt-llm")), "");
}

TEST_F(VerifyRankFiles, ARankThatLacks) {
  put_files("tensorrt-llm", 4);
  put_config({{"tp_size", 4}});
  std::filesystem::remove(output_ / "rank2.safetensors");
  for (const bool statistics : {true, false}) {
    if (!statistics) std::filesystem::remove(output_ / kStatisticsFileName);
    EXPECT_HOLDS("expected those of 4 ranks, and 'rank2.safetensors' is not here",
                 fault("tensorrt-llm"));
  }
  EXPECT_HOLDS("mapping.tp_size = 4, expected 2", in_lines(faults("tensorrt-llm", 2)));
}

TEST_F(VerifyRankFiles, PipelineStagesAreNotChecked) {
  put_files("tensorrt-llm");
  put_config({{"tp_size", 1}, {"pp_size", 2}});
  EXPECT_HOLDS("mapping.pp_size = 2, expected 1", fault("tensorrt-llm"));
}

TEST_F(VerifyRankFiles, LayersThatTheModelLacks) {
  put_files("tensorrt-llm");
  put_config({});
  change_tensors("rank0.safetensors", [](Tensors& tensors) {
    tensors["transformer.layers.7.attention.kv_cache_scaling_factor"] = {
        "F32", {1}, float32_bytes({0.5f})};
  });
  EXPECT_HOLDS("has 'transformer.layers.7.attention.kv_cache_scaling_factor' of a model of 3",
               fault("tensorrt-llm"));
}

TEST_F(VerifyRankFiles, ScalesOfAnotherType) {
  put_files("tensorrt-llm");
  change_tensors("rank0.safetensors", [](Tensors& tensors) {
    tensors["transformer.layers.1.attention.kv_cache_scaling_factor"] = {
        "F32", {2}, float32_bytes({0.5f, 0.5f})};
  });
  EXPECT_HOLDS("is F32 of 8 bytes, expected F32 [1]", in_lines(faults("tensorrt-llm")));
}

}  // namespace
}  // namespace kvcalib
