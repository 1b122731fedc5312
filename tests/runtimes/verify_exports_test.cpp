// SPDX-License-Identifier: Apache-2.0
// How scales get lost on their way into a runtime, as it was seen in public: each shows.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "calibrate/runtimes/ascend_c8/c8_tensors.h"
#include "calibrate/runtimes/overlay_file.h"
#include "tests/runtimes/exporter_fixture.h"

namespace kvcalib {
namespace {

using namespace fixture;
using Tensors = std::map<std::string, SafetensorsTensor>;

constexpr const char* kOverlayFile = "model-kvscales.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

class VerifyExports : public ExporterTest {
 protected:
  // Every scale of an overlay through `action`.
  void change_scales(const std::function<float(const std::string& name, float scale)>& action) {
    change_tensors(kOverlayFile, [&](Tensors& tensors) {
      for (auto& [name, tensor] : tensors) {
        float scale = 0;
        std::memcpy(&scale, tensor.bytes.data(), sizeof scale);
        tensor.bytes = float32_bytes({action(name, scale)});
      }
    });
  }
  void set_layer(int64_t layer, float scale) {
    change_scales([&](const std::string& name, float old) {
      return name.starts_with(concat("model.layers.", layer, ".")) ? scale : old;
    });
  }
};

TEST_F(VerifyExports, AllScalesOne) {
  put_files("vllm");
  change_scales([](const std::string&, float) { return 1.0f; });
  const std::vector<std::string> found = faults("vllm");
  ASSERT_EQ(found.size(), 2u);
  EXPECT_HOLDS("all scales are 1", found[0]);
  std::filesystem::remove(output_ / kStatisticsFileName);
  EXPECT_HOLDS("all scales are 1", fault("vllm"));
}

TEST_F(VerifyExports, ScalesThatAreNoScales) {
  for (const float wrong : {0.0f, -0.5f, std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity()}) {
    put_files("vllm");
    std::filesystem::remove(output_ / kStatisticsFileName);
    set_layer(1, wrong);
    const std::vector<std::string> found = faults("vllm");
    ASSERT_FALSE(found.empty()) << wrong;
    EXPECT_HOLDS("expected a finite number above 0", in_lines(found));
    EXPECT_HOLDS("layer 1, K", in_lines(found));
  }
}

TEST_F(VerifyExports, ReciprocalScales) {
  put_files("sglang");
  change_scales([](const std::string&, float scale) { return 1.0f / scale; });
  EXPECT_HOLDS("the reciprocals", fault("sglang"));
}

TEST_F(VerifyExports, KeysAndValuesSwapped) {
  put_files("vllm");
  change_tensors(kOverlayFile, [](Tensors& tensors) {
    for (auto& [name, tensor] : tensors)
      if (name.ends_with(".k_scale"))
        std::swap(tensor.bytes, tensors.at(name.substr(0, name.size() - 7) + "v_scale").bytes);
  });
  EXPECT_HOLDS("K has V's scales", fault("vllm"));
}

// Of a last sample that overwrote the maximum, or of Q's range mixed into it.
TEST_F(VerifyExports, ScalesOfAnotherRange) {
  for (const float factor : {0.5f, 2.0f}) {
    put_files("vllm");
    change_scales([&](const std::string& name, float scale) {
      return name.find(".2.") != std::string::npos ? scale * factor : scale;
    });
    EXPECT_HOLDS("not what kv_stats.safetensors gives in 1 of 3 layers: layer 2, K", fault("vllm"));
  }
}

TEST_F(VerifyExports, LayersInEachOthersPlace) {
  put_files("lightllm");
  change_json("kv_cache_calib.json",
              [](nlohmann::json& json) { std::swap(json["scales"][0], json["scales"][2]); });
  EXPECT_HOLDS("in 2 of 3 layers: layer 0 has the scales of layer 2", fault("lightllm"));
}

TEST_F(VerifyExports, ChannelsOfKeysInPairs) {
  put_files("vllm-ascend");
  change_tensors(kOverlayFile, [](Tensors& tensors) {
    for (auto& [name, tensor] : tensors)
      if (name.ends_with("k_proj.kv_cache_scale"))
        tensor = to_tensor(pairs_of_halves(to_values(tensor), kWidth), WeightType::kFloat16);
  });
  EXPECT_HOLDS("the channels of K stand in interleaved pairs", fault("vllm-ascend"));
}

// A loader that renames what it finds drops `attn.k_scale`, another drops `k_scale`.
TEST_F(VerifyExports, ASpellingThatLacks) {
  for (const char* const kept : {".self_attn.k_scale", ".self_attn.attn.k_scale"}) {
    put_files("vllm");
    change_tensors(kOverlayFile, [&](Tensors& tensors) {
      std::erase_if(tensors, [&](const auto& entry) {
        return entry.first.ends_with(".k_scale") && !entry.first.ends_with(kept);
      });
    });
    const std::string found = fault("vllm");
    EXPECT_HOLDS("has no tensor 'model.layers.0.self_attn.", found);
    EXPECT_HOLDS("k_scale' (and 2 more): the runtime would go on without, at 1.0", found);
  }
}

TEST_F(VerifyExports, SpellingsThatDisagree) {
  put_files("vllm");
  change_scales([](const std::string& name, float scale) {
    return name == "model.layers.1.self_attn.attn.v_scale" ? 0.125f : scale;
  });
  EXPECT_HOLDS("two names of one scale", fault("vllm"));
}

TEST_F(VerifyExports, NamesThatTheIndexLacks) {
  put_files("vllm");
  change_json(kIndexFile, [](nlohmann::json& json) {
    json["weight_map"].erase("model.layers.1.self_attn.k_scale");
  });
  EXPECT_HOLDS("does not name 'model.layers.1.self_attn.k_scale'", fault("vllm"));
  put_files("vllm");
  change_json(kIndexFile, [](nlohmann::json& json) {
    json["weight_map"]["model.layers.1.self_attn.k_scale"] = "model.safetensors";
  });
  EXPECT_HOLDS("is in model.safetensors, expected model-kvscales.safetensors", fault("vllm"));
}

TEST_F(VerifyExports, NamesOfNoLayer) {
  put_files("vllm");
  change_tensors(kOverlayFile, [](Tensors& tensors) {
    tensors["model.layers.3.self_attn.k_scale"] = {"F32", {1}, float32_bytes({0.5f})};
    tensors["model.layers.0.self_attn.kv_scale"] = {"F32", {1}, float32_bytes({0.5f})};
  });
  EXPECT_HOLDS("(and 1 more) is none of a model with 3 layers", fault("vllm"));
}

TEST_F(VerifyExports, TypesThatTheLoaderDoesNotRead) {
  put_files("vllm");
  change_tensors(kOverlayFile, [](Tensors& tensors) {
    tensors["model.layers.0.self_attn.k_scale"] = to_tensor({0.5f}, WeightType::kFloat16);
  });
  EXPECT_HOLDS("is F16 of 2 bytes, expected one F32", fault("vllm"));
}

TEST_F(VerifyExports, ACacheThatTheConfigDoesNotQuantise) {
  put_files("vllm");
  put(output_, {{"config.json", contents(model_ / "config.json")}});
  EXPECT_HOLDS("no quantization_config with a kv_cache_scheme", fault("vllm"));
  auto merged = nlohmann::json::parse(contents(model_ / "config.json"));
  merged.merge_patch(nlohmann::json::parse(contents(output_ / "config.merge.json")));
  put(output_, {{"config.json", merged.dump()}});
  EXPECT_EQ(in_lines(faults("vllm")), "");
  merged["quantization_config"]["kv_cache_scheme"]["num_bits"] = 4;
  put(output_, {{"config.json", merged.dump()}});
  EXPECT_HOLDS("num_bits is 4, expected 8", fault("vllm"));
  put_files("tensorrt-llm");
  std::filesystem::remove(output_ / "config.json");
  put(output_, {{"config.merge.json", R"({"quantization": {"quant_algo": null}})"}});
  EXPECT_HOLDS("kv_cache_quant_algo is '', expected INT8", fault("tensorrt-llm"));
}

TEST_F(VerifyExports, AModelOfOtherLayers) {
  put_files("lightllm");
  put(output_, {{"config.json", contents(model_ / "config.json")}});
  EXPECT_EQ(in_lines(faults("lightllm")), "");
  change("config.json", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4");
  EXPECT_HOLDS("num_hidden_layers = 4, but kv_stats.safetensors is of 3 layers",
               in_lines(faults("lightllm")));
}

TEST_F(VerifyExports, NumbersThatNoModelHas) {
  put_files("vllm");
  put(output_, {{"config.json", contents(model_ / "config.json")}});
  for (const char* const layers : {"1000000000000", "-1"}) {
    change_json("config.json", [&](nlohmann::json& json) {
      json["num_hidden_layers"] = nlohmann::json::parse(layers);
    });
    EXPECT_HOLDS("no model has so many", in_lines(faults("vllm")));
  }
  std::filesystem::remove(output_ / "config.json");
  put_files("lightllm");
  std::filesystem::remove(output_ / kStatisticsFileName);
  change_json("kv_cache_calib.json",
              [](nlohmann::json& json) { json["num_head"] = int64_t{1} << 62; });
  EXPECT_HOLDS("no model has these", fault("lightllm"));
}

TEST_F(VerifyExports, FilesOfAnotherModel) {
  put_files("sglang-json");
  put(output_, {{"config.json", contents(model_ / "config.json")}});
  change("kv_cache_scales.json", "llama", "qwen2");
  EXPECT_HOLDS("model_type is 'qwen2', and config.json has 'llama'", fault("sglang-json"));
  put_files("lightllm");
  for (const char* const file : {"kv_cache_calib.json", "kv_cache_calib_per_tensor.json"})
    change(file, "LlamaForCausalLM", "Qwen2ForCausalLM");
  EXPECT_HOLDS("architectures is 'Qwen2ForCausalLM'", in_lines(faults("lightllm")));
}

TEST_F(VerifyExports, OtherRanks) {
  put_files("sglang-json", 2);
  EXPECT_EQ(in_lines(faults("sglang-json", 2)), "");
  EXPECT_HOLDS("has scales of 2 ranks, expected 4", fault("sglang-json", 4));
  put_files("tensorrt-llm", 2);
  EXPECT_EQ(in_lines(faults("tensorrt-llm", 2)), "");
  EXPECT_HOLDS("2 files rank0.safetensors .., expected those of 1", fault("tensorrt-llm", 1));
  std::filesystem::rename(output_ / "rank1.safetensors", output_ / "aside");
  EXPECT_HOLDS("1 files", fault("tensorrt-llm", 2));
}

TEST_F(VerifyExports, RanksInEachOthersPlace) {
  put_files("tensorrt-llm", 2);
  const std::string first = contents(output_ / "rank0.safetensors");
  put(output_, {{"rank0.safetensors", contents(output_ / "rank1.safetensors")},
                {"rank1.safetensors", first}});
  EXPECT_HOLDS("not what kv_stats.safetensors gives in 3 of 3 layers", fault("tensorrt-llm"));
}

TEST_F(VerifyExports, LayersThatLack) {
  put_files("sglang-json");
  change_json("kv_cache_scales.json",
              [](nlohmann::json& json) { json["kv_cache"]["scaling_factor"]["0"].erase("1"); });
  EXPECT_HOLDS("rank 0 has 2 layers, expected 3", in_lines(faults("sglang-json")));
  put_files("tensorrt-llm");
  change_tensors("rank0.safetensors", [](Tensors& tensors) {
    tensors.erase("transformer.layers.2.attention.kv_cache_scaling_factor");
  });
  EXPECT_HOLDS("has no tensor 'transformer.layers.2.", in_lines(faults("tensorrt-llm")));
  put_files("lightllm");
  change_json("kv_cache_calib.json", [](nlohmann::json& json) { json["scales"].erase(2); });
  EXPECT_HOLDS("scales: expected 3 lists of 8 numbers", fault("lightllm"));
}

TEST_F(VerifyExports, ConstantsThatLightLlmHoldsAgainstItsOwn) {
  put_files("lightllm");
  change_json("kv_cache_calib.json", [](nlohmann::json& json) {
    json["qmax"] = 127.0;
    json["quant_type"] = "per_tensor";
  });
  const std::string found = in_lines(faults("lightllm"));
  EXPECT_HOLDS("qmin, qmax are -448.0, 127.0", found);
  EXPECT_HOLDS("quant_type is 'per_tensor', expected per_head", found);
}

// A single scale passes the first reshape of the runtime and not the one of decoding.
TEST_F(VerifyExports, OneScaleInThePlaceOfAVector) {
  put_files("vllm-ascend");
  change_tensors(kOverlayFile, [](Tensors& tensors) {
    tensors["model.layers.2.self_attn.k_proj.kv_cache_scale"] =
        to_tensor({0.5f}, WeightType::kFloat16);
  });
  EXPECT_HOLDS("expected F16 [64]", fault("vllm-ascend"));
  put_files("mindie");
  change_tensors(kOverlayFile, [](Tensors& tensors) {
    for (auto& [name, tensor] : tensors)
      tensor = to_tensor(to_values(tensor), WeightType::kBFloat16);
  });
  EXPECT_HOLDS("is BF16 of 128 bytes, expected F16", in_lines(faults("mindie")));
}

TEST_F(VerifyExports, OffsetsThatNotEveryPathReads) {
  put_files("mindie");
  change_tensors(kOverlayFile, [](Tensors& tensors) {
    tensors["model.layers.0.self_attn.v_proj.kv_cache_offset"] =
        to_tensor(std::vector<float>(kChannels, 3.0f), WeightType::kFloat16);
  });
  EXPECT_HOLDS("v_proj.kv_cache_offset' is not 0 throughout", fault("mindie"));
  put_files("lmdeploy-ascend");
  change("record.txt", "offset: 0", "offset: 3");
  EXPECT_HOLDS("layer 0: offsets 3, 0, expected 0", fault("lmdeploy-ascend"));
}

TEST_F(VerifyExports, ADescriptionThatLeavesLayersOut) {
  put_files("vllm-ascend");
  change_json("quant_model_description.json", [](nlohmann::json& json) {
    json.erase("model.layers.1.self_attn.k_proj.kv_cache_scale");
    json.erase("model.layers.2.self_attn.k_proj.weight");
    json["kv_cache_type"] = "INT8";
  });
  const std::vector<std::string> found = faults("vllm-ascend");
  EXPECT_EQ(found.size(), 3u);
  EXPECT_HOLDS("expected C8", in_lines(found));
  EXPECT_HOLDS("the layer would be left out", in_lines(found));
  EXPECT_HOLDS("looked for of every weight", in_lines(found));
}

TEST_F(VerifyExports, NumbersWithAnExponent) {
  put_files("lmdeploy-ascend");
  const std::string text = contents(output_ / "record.txt");
  const size_t begin = text.find("scale: ") + 7;
  change("record.txt", text.substr(begin, text.find(" offset") - begin), "1.2e-02");
  const std::string found = fault("lmdeploy-ascend");
  EXPECT_HOLDS("5 scales with offsets are read, expected 6", found);
  EXPECT_HOLDS("'scale: 1.2e-02 offset: 0", found);
  EXPECT_HOLDS("no exponent", found);
}

TEST_F(VerifyExports, AKvcalibJsonThatWasChanged) {
  put_files("kvcalib-json");
  change_json("kvcalib.json",
              [](nlohmann::json& json) { json["layers"][1]["key"]["layer"]["float8_e4m3"] = 0.5; });
  EXPECT_HOLDS("layer 1: its scales are not those of its ranges", fault("kvcalib-json"));
  put_files("kvcalib-json");
  change_json("kvcalib.json", [](nlohmann::json& json) {
    for (nlohmann::json& layer : json["layers"]) std::swap(layer["key"], layer["value"]);
  });
  EXPECT_FALSE(faults("kvcalib-json").empty());
  put_files("kvcalib-json");
  change_json("kvcalib.json", [](nlohmann::json& json) { json["layers"].erase(2); });
  EXPECT_HOLDS("layers: 2 of the model's 3", fault("kvcalib-json"));
  put_files("kvcalib-json");
  change_json("kvcalib.json",
              [](nlohmann::json& json) { json["layers"][0]["value"]["minimum"][1].erase(3); });
  EXPECT_HOLDS("minimum: expected 4 lists of 16", fault("kvcalib-json"));
}

TEST_F(VerifyExports, DamagedFilesAreFaults) {
  for (const std::string& name : reader_names()) {
    if (name == "turbomind") continue;
    for (const auto& [file, bytes] : files_for(name)) {
      put_files(name);
      put(output_, {{file, bytes.substr(0, bytes.size() / 2)}});
      EXPECT_FALSE(faults(name).empty()) << name << ", " << file << " cut";
    }
  }
}

TEST_F(VerifyExports, DamagedStatisticsAreAFault) {
  put_files("vllm");
  put(output_, {{kStatisticsFileName, "nothing of the kind"}});
  EXPECT_HOLDS(kStatisticsFileName, fault("vllm"));
}

}  // namespace
}  // namespace kvcalib
