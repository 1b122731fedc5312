// SPDX-License-Identifier: Apache-2.0
// Scales that read well and cannot be right, and reports of many faults.
#include <gtest/gtest.h>

#include <cstring>

#include "calibrate/runtimes/ascend_c8/c8_tensors.h"
#include "calibrate/runtimes/overlay_file.h"
#include "tests/runtimes/exporter_fixture.h"

namespace kvcalib {
namespace {

using namespace fixture;
using Tensors = std::map<std::string, SafetensorsTensor>;

constexpr const char* kOverlayFile = "model-kvscales.safetensors";
constexpr const char* kDescription = "quant_model_description.json";

class VerifyScaleValues : public ExporterTest {
 protected:
  // Of one kind of tensor in the overlay of vllm.
  void set_scales(const std::string& end, float scale, const std::string& layer = "") {
    change_tensors(kOverlayFile, [&](Tensors& tensors) {
      for (auto& [name, tensor] : tensors)
        if (name.ends_with(end) && name.find(layer) != std::string::npos)
          tensor.bytes = float32_bytes({scale});
    });
  }
  void set_half(const std::string& end, float scale) {
    change_tensors(kOverlayFile, [&](Tensors& tensors) {
      for (auto& [name, tensor] : tensors)
        if (name.ends_with(end))
          tensor = to_tensor(std::vector<float>(kChannels, scale), WeightType::kFloat16);
    });
  }
  void forget_statistics() { std::filesystem::remove(output_ / kStatisticsFileName); }
};

TEST_F(VerifyScaleValues, KeysAloneAreOne) {
  for (const auto& [end, said] : {std::pair(".k_scale", "all scales of K are 1"),
                                  std::pair(".v_scale", "all scales of V are 1")}) {
    put_files("vllm");
    forget_statistics();
    set_scales(end, 1.0f);
    EXPECT_HOLDS(said, fault("vllm"));
  }
}

TEST_F(VerifyScaleValues, ALayerWhereNothingWasMeasured) {
  put_files("vllm");
  forget_statistics();
  set_scales(".k_scale", 0x1p-24f, ".1.");
  EXPECT_HOLDS("layer 1, K: no scale is above", fault("vllm"));
  std::fill_n(statistics_.statistics.values.minimum.begin(), kChannels, 0.0f);
  std::fill_n(statistics_.statistics.values.maximum.begin(), kChannels, 0.0f);
  for (const char* const name : {"vllm", "lightllm", "mindie", "lmdeploy-ascend", "kvcalib-json"}) {
    std::filesystem::remove_all(output_);
    std::filesystem::create_directory(output_);
    put_files(name);
    EXPECT_HOLDS("layer 0, V: no scale is above", in_lines(faults(name))) << name;
  }
}

TEST_F(VerifyScaleValues, HalvesWhoseReciprocalsAreInfinite) {
  EXPECT_TRUE(has_reciprocal(0x1p-15f, WeightType::kFloat16));
  EXPECT_FALSE(has_reciprocal(0x1p-16f, WeightType::kFloat16));
  EXPECT_TRUE(has_reciprocal(0x1p-24f, WeightType::kBFloat16));
  statistics_.statistics.keys.minimum[5] = statistics_.statistics.keys.maximum[5] = 0.0f;
  put_files("mindie");
  EXPECT_EQ(in_lines(faults("mindie")), "");
  const Safetensors overlay = Safetensors::read(output_ / kOverlayFile);
  const std::vector<float> scales =
      to_values(overlay.tensors.at("model.layers.0.self_attn.k_proj.kv_cache_scale"));
  EXPECT_EQ(*std::min_element(scales.begin(), scales.end()), 0x1p-15f);
  forget_statistics();
  set_half("1.self_attn.v_proj.kv_cache_scale", 0x1p-20f);
  EXPECT_HOLDS("1.self_attn.v_proj.kv_cache_scale' has a scale whose reciprocal is not finite",
               in_lines(faults("mindie")));
}

TEST_F(VerifyScaleValues, ADescriptionOfOtherWeights) {
  put_files("vllm-ascend");
  const auto spoilt = [&](const std::function<void(nlohmann::json&)>& action) {
    put_files("vllm-ascend");
    change_json(kDescription, action);
    return fault("vllm-ascend");
  };
  EXPECT_HOLDS("does not name 'model.norm.weight'",
               spoilt([](nlohmann::json& json) { json.erase("model.norm.weight"); }));
  EXPECT_HOLDS("does not name 'lm_head.weight'",
               spoilt([](nlohmann::json& json) { json.erase("lm_head.weight"); }));
  EXPECT_HOLDS("the value of 'model.norm.weight' is no text",
               spoilt([](nlohmann::json& json) { json["model.norm.weight"] = 8; }));
  EXPECT_HOLDS("model_quant_type is missing",
               spoilt([](nlohmann::json& json) { json.erase("model_quant_type"); }));
  EXPECT_HOLDS("kv_cache_type is missing",
               spoilt([](nlohmann::json& json) { json.erase("kv_cache_type"); }));
  EXPECT_HOLDS("calls 'model.layers.0.mlp.up_proj.weight' W8A8", spoilt([](nlohmann::json& json) {
                 json["model.layers.0.mlp.up_proj.weight"] = "W8A8";
               }));
}

TEST_F(VerifyScaleValues, ADescriptionNamesTheHeadOfTiedEmbeddings) {
  std::filesystem::remove_all(model_);
  write_hugging_face(model_, small_model(), {.tied = true});
  Safetensors model = Safetensors::read(model_ / "model.safetensors");
  model.tensors.erase("lm_head.weight");
  put(model_, {{"model.safetensors", safetensors_bytes(model)}});
  weights_ = open_weights(model_);
  const Files files = files_for("mindie");
  EXPECT_FALSE(
      nlohmann::json::parse(files.at("model.safetensors.index.json"))["weight_map"].contains(
          "lm_head.weight"));
  EXPECT_EQ(nlohmann::json::parse(files.at(kDescription))["lm_head.weight"], "FLOAT");
}

TEST_F(VerifyScaleValues, OffsetsThatNoInt32Holds) {
  put_files("lmdeploy-ascend");
  change("record.txt", "offset: 0", "offset: 99999999999");
  EXPECT_HOLDS("offset '99999999999' is no int32", fault("lmdeploy-ascend"));
  change("record.txt", "offset: 99999999999", "offset: -1" + std::string(60, '0'));
  EXPECT_HOLDS("is no int32", fault("lmdeploy-ascend"));
}

TEST_F(VerifyScaleValues, KeysAndValuesOfOneRange) {
  statistics_.statistics.values = statistics_.statistics.keys;
  put_files("kvcalib-json");
  EXPECT_EQ(in_lines(faults("kvcalib-json")), "");
}

TEST_F(VerifyScaleValues, ManyFaultsOfAKindAreCounted) {
  for (const char* const name : {"sglang-json", "tensorrt-llm", "vllm", "mindie"}) {
    std::filesystem::remove_all(output_);
    std::filesystem::create_directory(output_);
    put_files(name);
    auto config = nlohmann::json::parse(contents(model_ / "config.json"));
    if (std::filesystem::exists(output_ / "config.merge.json"))
      config.merge_patch(nlohmann::json::parse(contents(output_ / "config.merge.json")));
    config["num_hidden_layers"] = 4096;
    put(output_, {{"config.json", config.dump()}});
    EXPECT_LT(faults(name).size(), 20u) << name;
  }
  put_files("sglang-json");
  change_json("config.json", [](nlohmann::json& json) { json["num_hidden_layers"] = 100; });
  EXPECT_HOLDS("and 89 more faults of that kind", in_lines(faults("sglang-json")));
}

}  // namespace
}  // namespace kvcalib
