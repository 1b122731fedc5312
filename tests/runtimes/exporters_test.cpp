// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstring>

#include "calibrate/runtimes/ascend_c8/c8_tensors.h"
#include "calibrate/runtimes/lmdeploy_ascend/lmdeploy_ascend.h"
#include "kernels/numeric.h"
#include "tests/runtimes/exporter_fixture.h"
#include "tests/runtimes/model_directory.h"

namespace kvcalib {
namespace {

using namespace fixture;

class Exporters : public ExporterTest {};

float float_of(const std::string& bytes) {
  float value = 0;
  EXPECT_EQ(bytes.size(), sizeof value);
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

Safetensors tensors_in(const Files& files, const std::string& name) {
  return Safetensors::parse(files.at(name), name);
}

// Of the widest channel of a layer.
float largest_key(int64_t layer) { return key_largest((layer + 1) * kChannels - 1); }
float largest_value(int64_t layer) { return value_largest((layer + 1) * kChannels - 1); }

TEST_F(Exporters, AreFoundByNameAndReadTheirOwnFiles) {
  const std::vector<std::string> names = reader_names();
  EXPECT_EQ(names.front(), "turbomind");
  EXPECT_EQ(names.size(), 10u);
  EXPECT_EQ(find_exporter("turbomind"), nullptr);
  EXPECT_EQ(find_exporter("abacus"), nullptr);
  for (size_t i = 1; i < names.size(); ++i) {
    std::filesystem::remove_all(output_);
    std::filesystem::create_directory(output_);
    put_files(names[i]);
    EXPECT_EQ(in_lines(faults(names[i])), "") << names[i];
    std::filesystem::remove(output_ / kStatisticsFileName);
    EXPECT_EQ(in_lines(faults(names[i])), "") << names[i] << ", without statistics";
    EXPECT_NE(exporter(names[i]).files_in_words(3, 1), "");
  }
}

TEST_F(Exporters, FindAFaultWhereNothingIs) {
  for (const std::string& name : reader_names()) {
    if (name == "turbomind") continue;
    EXPECT_FALSE(faults(name).empty()) << name;
  }
  EXPECT_HOLDS("no directory", message_of([&] {
                 verify_export(exporter("vllm"), folder_.path() / "nowhere", std::nullopt);
               }));
}

TEST_F(Exporters, WriteAnOverlayOfBothSpellings) {
  const Files files = files_for("vllm");
  EXPECT_EQ(files, files_for("sglang"));
  const Safetensors overlay = tensors_in(files, "model-kvscales.safetensors");
  EXPECT_EQ(overlay.tensors.size(), 3u * 4u);
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    for (const char* const module : {"", ".attn"}) {
      const std::string name = concat("model.layers.", layer, ".self_attn", module);
      const SafetensorsTensor& key = overlay.tensors.at(name + ".k_scale");
      EXPECT_EQ(key.dtype, "F32");
      EXPECT_EQ(key.shape, std::vector<int64_t>{1});
      EXPECT_EQ(float_of(key.bytes), largest_key(layer) / 448.0f);
      EXPECT_EQ(float_of(overlay.tensors.at(name + ".v_scale").bytes),
                largest_value(layer) / 448.0f);
    }
  }
  const auto config = nlohmann::json::parse(files.at("config.merge.json"));
  EXPECT_EQ(config["quantization_config"]["kv_cache_scheme"],
            nlohmann::json::parse(R"({"num_bits": 8, "type": "float", "strategy": "tensor",
                                      "dynamic": false, "symmetric": true})"));
}

TEST_F(Exporters, MakeAnIndexOrAddToIt) {
  const auto made = nlohmann::json::parse(files_for("vllm").at("model.safetensors.index.json"));
  EXPECT_EQ(made["weight_map"]["model.norm.weight"], "model.safetensors");
  EXPECT_EQ(made["weight_map"]["model.layers.2.self_attn.v_scale"], "model-kvscales.safetensors");
  std::filesystem::remove_all(model_);
  write_hugging_face(model_, small_model(), {.files = 3});
  const std::filesystem::path index = model_ / "model.safetensors.index.json";
  auto own = nlohmann::json::parse(contents(index));
  own["metadata"] = {{"total_size", 1000}, {"by", "hand"}};
  put(model_, {{"model.safetensors.index.json", own.dump()}});
  weights_ = open_weights(model_);
  auto extended = nlohmann::json::parse(files_for("vllm").at("model.safetensors.index.json"));
  EXPECT_EQ(extended["metadata"],
            (nlohmann::json{{"total_size", 1000 + 3 * 4 * 4}, {"by", "hand"}}));
  for (const auto& [name, file] : own["weight_map"].items())
    EXPECT_EQ(extended["weight_map"][name], file) << name;
  EXPECT_EQ(extended["weight_map"].size(), own["weight_map"].size() + 12);
}

TEST_F(Exporters, WriteSglangsJsonByRankAndLayer) {
  const auto json = nlohmann::json::parse(files_for("sglang-json", 2).at("kv_cache_scales.json"));
  EXPECT_EQ(json["model_type"], "llama");
  EXPECT_EQ(json["kv_cache"]["dtype"], "float8_e4m3fn");
  const auto& factors = json["kv_cache"]["scaling_factor"];
  EXPECT_EQ(factors.size(), 2u);
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    // K is the wider of both; rank 0 has heads 0 and 1.
    EXPECT_EQ(factors["0"][std::to_string(layer)].get<float>(),
              key_largest(layer * kChannels + 2 * kWidth - 1) / 448.0f);
    EXPECT_EQ(factors["1"][std::to_string(layer)].get<float>(), largest_key(layer) / 448.0f);
  }
}

TEST_F(Exporters, WriteLightLlmsHeadsOfKBeforeThoseOfV) {
  const Files files = files_for("lightllm");
  const auto heads = nlohmann::json::parse(files.at("kv_cache_calib.json"));
  EXPECT_EQ(heads["quant_type"], "per_head");
  EXPECT_EQ(heads["architectures"], "LlamaForCausalLM");
  EXPECT_EQ(heads["version"], "1.0");
  EXPECT_EQ(heads["qmin"], -448.0);
  EXPECT_EQ(heads["qmax"], 448.0);
  EXPECT_EQ(heads["num_layers"], 3);
  EXPECT_EQ(heads["num_head"], 4);
  EXPECT_EQ(heads["scales_shape"], (nlohmann::json{3, 8}));
  EXPECT_EQ(heads["scales"][1][2].get<float>(), key_largest(kChannels + 3 * kWidth - 1) / 448.0f);
  EXPECT_EQ(heads["scales"][1][6].get<float>(), value_largest(kChannels + 3 * kWidth - 1) / 448.0f);
  const auto whole = nlohmann::json::parse(files.at("kv_cache_calib_per_tensor.json"));
  EXPECT_EQ(whole["quant_type"], "per_tensor");
  EXPECT_EQ(whole["scales_shape"], (nlohmann::json{3, 2}));
  EXPECT_EQ(whole["scales"][2][0].get<float>(), largest_key(2) / 448.0f);
  EXPECT_EQ(whole["scales"][2][1].get<float>(), largest_value(2) / 448.0f);
}

TEST_F(Exporters, WriteTensorRtLlmsFileOfEachRank) {
  const Files files = files_for("tensorrt-llm", 4);
  EXPECT_EQ(files.size(), 5u);
  for (int64_t rank = 0; rank < 4; ++rank) {
    const Safetensors file = tensors_in(files, concat("rank", rank, ".safetensors"));
    EXPECT_EQ(file.tensors.size(), 3u);
    const SafetensorsTensor& scale =
        file.tensors.at("transformer.layers.1.attention.kv_cache_scaling_factor");
    EXPECT_EQ(scale.shape, std::vector<int64_t>{1});
    EXPECT_EQ(float_of(scale.bytes), key_largest(kChannels + (rank + 1) * kWidth - 1) / 127.0f);
  }
  EXPECT_EQ(nlohmann::json::parse(files.at("config.merge.json")),
            nlohmann::json::parse(R"({"quantization": {"kv_cache_quant_algo": "INT8"}})"));
}

TEST_F(Exporters, WriteAscendsChannelsInTheCheckpointsOrder) {
  const Files files = files_for("vllm-ascend");
  EXPECT_EQ(files, files_for("mindie"));
  const Safetensors overlay = tensors_in(files, "model-kvscales.safetensors");
  const SafetensorsTensor& scale =
      overlay.tensors.at("model.layers.1.self_attn.k_proj.kv_cache_scale");
  EXPECT_EQ(scale.dtype, "F16");
  EXPECT_EQ(scale.shape, std::vector<int64_t>{kChannels});
  const std::vector<float> keys = to_values(scale);
  const std::vector<float> values =
      to_values(overlay.tensors.at("model.layers.1.self_attn.v_proj.kv_cache_scale"));
  const auto rounded = [](float value) {
    return kernels::to_float(kernels::from_float<kernels::Half>(value));
  };
  for (int64_t head = 0; head < kHeads; ++head) {
    const int64_t first = kChannels + head * kWidth;
    for (int64_t j = 0; j < kWidth / 2; ++j) {
      const auto at = static_cast<size_t>(head * kWidth + j);
      EXPECT_EQ(keys[at], rounded(key_largest(first + 2 * j) / 127.0f));
      EXPECT_EQ(keys[at + kWidth / 2], rounded(key_largest(first + 2 * j + 1) / 127.0f));
      EXPECT_EQ(values[at], rounded(value_largest(first + j) / 127.0f));
    }
  }
  for (const char* const module : {"k_proj", "v_proj"})
    for (const float offset : to_values(
             overlay.tensors.at(concat("model.layers.0.self_attn.", module, ".kv_cache_offset"))))
      EXPECT_EQ(offset, 0.0f);
  const auto description = nlohmann::json::parse(files.at("quant_model_description.json"));
  EXPECT_EQ(description["kv_cache_type"], "C8");
  EXPECT_EQ(description["model.layers.2.self_attn.v_proj.kv_cache_offset"], "W8A8");
  EXPECT_EQ(description["model.layers.2.mlp.down_proj.weight"], "FLOAT");
}

TEST_F(Exporters, WriteBfloat16ForSuchModels) {
  const SafetensorsTensor tensor = to_tensor({1.0f, 0.3f}, WeightType::kBFloat16);
  EXPECT_EQ(tensor.dtype, "BF16");
  EXPECT_EQ(to_values(tensor), (std::vector<float>{1.0f, 0.30078125f}));
}

TEST_F(Exporters, WriteRecordsWithoutExponents) {
  statistics_.statistics.keys.minimum.assign(statistics_.statistics.keys.minimum.size(), -1e-4f);
  statistics_.statistics.keys.maximum.assign(statistics_.statistics.keys.maximum.size(), 1e-4f);
  const std::string text = files_for("lmdeploy-ascend").at("record.txt");
  EXPECT_EQ(text.find("e-"), std::string::npos) << text;
  const std::vector<RecordedScale> found = parse_record(text);
  ASSERT_EQ(found.size(), 6u);
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    EXPECT_EQ(found[static_cast<size_t>(2 * layer)].scale, 1e-4f / 127.0f);
    EXPECT_EQ(found[static_cast<size_t>(2 * layer + 1)].scale, largest_value(layer) / 127.0f);
    EXPECT_EQ(found[static_cast<size_t>(2 * layer)].offset, 0.0f);
  }
}

TEST_F(Exporters, ReadRecordsAsLmDeploysPatternDoes) {
  const auto count = [](const char* text) { return parse_record(text).size(); };
  EXPECT_EQ(count("scale: 0.5 offset: 3"), 1u);
  EXPECT_EQ(count("scale:0.5offset:-3"), 1u);
  EXPECT_EQ(count("scale:\n 0.5\toffset:\n12"), 1u);
  EXPECT_EQ(count("scale: 1e-05 offset: 0"), 0u);
  EXPECT_EQ(count("scale: 0.5 offset: x"), 0u);
  EXPECT_EQ(count("scale: 0.5, offset: 0"), 0u);
  EXPECT_EQ(count("scale: offset: 0"), 0u);
  EXPECT_EQ(count("Scale: 0.5 offset: 0"), 0u);
  EXPECT_EQ(count("scale: 1e-05 offset: 0 scale: 0.25 offset: 1"), 1u);
  EXPECT_EQ(parse_record("scale: 0.25 offset: -7.5").front().offset, -7.0f);
}

TEST_F(Exporters, WriteEverythingForPeoplesOwnPrograms) {
  const auto json = nlohmann::json::parse(files_for("kvcalib-json").at("kvcalib.json"));
  EXPECT_EQ(json["format"], "kvcalib-json");
  EXPECT_EQ(json["version"], 1);
  EXPECT_EQ(json["key_channel_order"], "half-split");
  const auto& key = json["layers"][2]["key"];
  const int64_t first = 2 * kChannels + kWidth;
  EXPECT_EQ(key["minimum"][1][0].get<float>(), -key_largest(first));
  EXPECT_EQ(key["minimum"][1][1].get<float>(), -key_largest(first + 2));
  EXPECT_EQ(key["maximum"][1][8].get<float>(), key_largest(first + 1) / 2);
  const float low = -largest_key(2), high = largest_key(2) / 2;
  EXPECT_EQ(key["layer"]["int8_symmetric"].get<float>(), largest_key(2) / 127.0f);
  EXPECT_EQ(key["layer"]["float8_e4m3"].get<float>(), largest_key(2) / 448.0f);
  EXPECT_EQ(key["layer"]["int8_asymmetric"]["scale"].get<float>(), (high - low) / 255.0f);
  EXPECT_EQ(key["layer"]["int8_asymmetric"]["zero"].get<float>(), (high + low) * 0.5f);
  EXPECT_EQ(json["layers"][0]["value"]["heads"]["float8_e4m3"][3].get<float>(),
            value_largest(63) / 448.0f);
  EXPECT_EQ(json["layers"][0]["value"]["maximum"][3][15].get<float>(), value_largest(63));
}

TEST_F(Exporters, RefuseModelsThatWouldBeMisread) {
  write_model("InternLM2ForCausalLM", "internlm2");
  for (const char* const name : {"vllm", "sglang", "sglang-json", "vllm-ascend", "mindie"})
    EXPECT_HOLDS("architectures names 'InternLM2ForCausalLM', expected one of LlamaForCausalLM",
                 message_of([&] { files_for(name); }))
        << name;
  EXPECT_EQ(files_for("lightllm").size(), 2u);
  write_model("InternLMForCausalLM", "internlm");
  EXPECT_HOLDS("expected one of LlamaForCausalLM, MistralForCausalLM",
               message_of([&] { files_for("sglang"); }));
  EXPECT_EQ(files_for("vllm").size(), 3u);
}

TEST_F(Exporters, RefuseNamesBehindAPrefix) {
  Safetensors model = Safetensors::read(model_ / "model.safetensors");
  Safetensors renamed{{}, model.metadata};
  for (const auto& [name, tensor] : model.tensors) renamed.tensors["module." + name] = tensor;
  put(model_, {{"model.safetensors", safetensors_bytes(renamed)}});
  weights_ = open_weights(model_);
  EXPECT_HOLDS(
      "has 'module.model.layers.0.self_attn.k_proj.weight', expected a tensor "
      "'model.layers.0.self_attn.k_proj.weight'",
      message_of([&] { files_for("vllm"); }));
}

TEST_F(Exporters, WantTheCheckpointAndNotTurboMindsWeights) {
  const ModelDirectory turbomind(folder_.path() / "weights", small_model());
  EXPECT_HOLDS("--for vllm reads scales by the names of a Hugging Face model",
               message_of([&] { open_checkpoint(turbomind, "--for vllm"); }));
  for (const char* const name : {"kvcalib-json", "tensorrt-llm", "lmdeploy-ascend"}) {
    EXPECT_FALSE(exporter(name).names_tensors) << name;
    const ExportTarget target{turbomind, nullptr, 1};
    exporter(name).check(target);
    EXPECT_FALSE(exporter(name).files(target, statistics_).empty()) << name;
  }
}

TEST_F(Exporters, WantTheModelTypeWhereSglangHoldsItAgainstTheFile) {
  write_model("LlamaForCausalLM", "");
  EXPECT_HOLDS("model_type is missing", message_of([&] { files_for("sglang-json"); }));
}

TEST_F(Exporters, RefuseRanksThatHeadsDoNotDivideAmong) {
  for (const char* const name : {"sglang-json", "tensorrt-llm"})
    EXPECT_HOLDS("--serving-tp 3: the model has 4 kv heads",
                 message_of([&] { files_for(name, 3); }));
}

}  // namespace
}  // namespace kvcalib
