// SPDX-License-Identifier: Apache-2.0
// What lies beside exported files: the model's config, a summary, other files, nothing.
#include <gtest/gtest.h>

#include "calibrate/runtimes/overlay_file.h"
#include "tests/runtimes/exporter_fixture.h"

namespace kvcalib {
namespace {

using namespace fixture;

class VerifyBeside : public ExporterTest {
 protected:
  void put_config(const std::function<void(nlohmann::json&)>& action = [](nlohmann::json&) {}) {
    auto config = nlohmann::json::parse(contents(model_ / "config.json"));
    if (std::filesystem::exists(output_ / "config.merge.json"))
      config.merge_patch(nlohmann::json::parse(contents(output_ / "config.merge.json")));
    action(config);
    put(output_, {{"config.json", config.dump()}});
  }
  void put_summary(const nlohmann::json& more = nlohmann::json::object()) {
    nlohmann::json summary = {{"program", "kvcalib"}, {"for", "vllm"},      {"layers", kLayers},
                              {"kv_heads", kHeads},   {"head_dim", kWidth}, {"files", {}}};
    summary.update(more);
    put(output_, {{"summary.json", summary.dump()}});
  }
  void without_statistics(const std::string& name, int64_t ranks = 1) {
    std::filesystem::remove_all(output_);
    std::filesystem::create_directory(output_);
    put_files(name, ranks);
    std::filesystem::remove(output_ / kStatisticsFileName);
  }
  std::string notes(const std::string& name) {
    return in_lines(verify_export(exporter(name), output_, std::nullopt).notes);
  }
};

TEST_F(VerifyBeside, AFamilyWhoseLoaderDropsScales) {
  for (const char* const name : {"vllm", "sglang", "sglang-json", "vllm-ascend", "mindie"}) {
    std::filesystem::remove_all(output_);
    std::filesystem::create_directory(output_);
    put_files(name);
    put_config();
    EXPECT_EQ(in_lines(faults(name)), "") << name;
    put_config([](nlohmann::json& json) { json["architectures"] = {"Qwen3MoeForCausalLM"}; });
    EXPECT_HOLDS("architectures names 'Qwen3MoeForCausalLM', expected one of LlamaForCausalLM",
                 fault(name))
        << name;
    put_config([](nlohmann::json& json) { json.erase("architectures"); });
    EXPECT_HOLDS("architectures names ''", fault(name)) << name;
  }
}

TEST_F(VerifyBeside, SglangTellsTheChangeThatItNeeds) {
  put_files("sglang");
  EXPECT_HOLDS("needs a SGLang with sgl-project/sglang#35455", notes("sglang"));
  EXPECT_HOLDS("use sglang-json there", notes("sglang"));
  put_files("vllm");
  EXPECT_EQ(notes("vllm").find("35455"), std::string::npos);
}

TEST_F(VerifyBeside, AQuantisationOfAnotherKind) {
  for (const char* const name : {"vllm", "sglang"}) {
    put_files(name);
    for (const char* const key : {"quant_method", "format", "quantization_status"}) {
      put_config([&](nlohmann::json& json) { json["quantization_config"][key] = "fp8"; });
      EXPECT_HOLDS(concat("quantization_config: ", key, " is \"fp8\", expected"), fault(name));
      put_config([&](nlohmann::json& json) { json["quantization_config"].erase(key); });
      EXPECT_HOLDS(concat("quantization_config: ", key, " is missing"), fault(name));
    }
  }
}

TEST_F(VerifyBeside, ASummaryWithoutStatistics) {
  for (const char* const name : {"vllm", "lightllm", "sglang-json", "tensorrt-llm", "mindie"}) {
    without_statistics(name);
    put_summary();
    EXPECT_EQ(in_lines(faults(name)), "") << name;
    put_summary({{"layers", kLayers + 1}});
    EXPECT_NE(in_lines(faults(name)), "") << name;
  }
  without_statistics("lightllm");
  put_summary({{"kv_heads", 8}});
  EXPECT_HOLDS("num_head = 4, expected 8", in_lines(faults("lightllm")));
  without_statistics("mindie");
  put_summary({{"head_dim", 32}});
  EXPECT_HOLDS("expected F16 [128]", in_lines(faults("mindie")));
  for (const char* const name : {"sglang-json", "tensorrt-llm"}) {
    without_statistics(name, 2);
    put_summary({{"serving_tp", 2}});
    EXPECT_EQ(in_lines(faults(name)), "") << name;
    put_summary({{"serving_tp", 4}});
    EXPECT_HOLDS("4", fault(name)) << name;
  }
  put_summary({{"serving_tp", 2}, {"files", {"rank0.safetensors", "rank7.safetensors"}}});
  EXPECT_HOLDS("summary.json names rank7.safetensors, which is not here", notes("tensorrt-llm"));
  put_summary({{"program", "another"}, {"layers", 77}});
  EXPECT_EQ(in_lines(faults("tensorrt-llm")), "");
}

TEST_F(VerifyBeside, AConfigOfOtherHeads) {
  put_files("kvcalib-json");
  put_config([](nlohmann::json& json) { json["num_key_value_heads"] = 2; });
  EXPECT_HOLDS("num_key_value_heads = 2, but kv_stats.safetensors is of 4 kv heads",
               in_lines(faults("kvcalib-json")));
  put_config([](nlohmann::json& json) { json["head_dim"] = 32; });
  EXPECT_HOLDS("head_dim = 32, but kv_stats.safetensors is of 16 channels a head",
               in_lines(faults("kvcalib-json")));
}

TEST_F(VerifyBeside, TellsWhatItCouldNotSee) {
  put_files("vllm");
  EXPECT_EQ(verify_export(exporter("vllm"), output_, std::nullopt).unseen, "");
  std::filesystem::remove(output_ / kStatisticsFileName);
  EXPECT_HOLDS("was not seen without kv_stats.safetensors",
               verify_export(exporter("vllm"), output_, std::nullopt).unseen);
}

TEST_F(VerifyBeside, LinksThatLeadNowhere) {
  put_files("lightllm");
  for (const char* const file : {"kv_cache_calib.json", kStatisticsFileName, "config.json"}) {
    put_files("lightllm");
    std::filesystem::remove(output_ / file);
    std::filesystem::create_symlink("nowhere", output_ / file);
    EXPECT_HOLDS(file, fault("lightllm"));
    std::filesystem::remove(output_ / file);
  }
}

TEST_F(VerifyBeside, OneOfLightLlmsFiles) {
  put_files("lightllm");
  std::filesystem::remove(output_ / "kv_cache_calib_per_tensor.json");
  EXPECT_EQ(in_lines(faults("lightllm")), "");
  EXPECT_HOLDS("no kv_cache_calib_per_tensor.json here", notes("lightllm"));
}

TEST_F(VerifyBeside, AWholeModelBesideItsIndex) {
  put_files("vllm");
  EXPECT_EQ(notes("vllm").find("prefers it to the index"), std::string::npos);
  put(output_, {{"model.safetensors", contents(model_ / "model.safetensors")}});
  EXPECT_HOLDS("transformers prefers it to the index", notes("vllm"));
}

TEST_F(VerifyBeside, AnIndexThatIsMadeStatesItsSize) {
  uint64_t bytes = 3 * 4 * sizeof(float);
  for (const auto& [name, tensor] : Safetensors::read(model_ / "model.safetensors").tensors)
    bytes += tensor.bytes.size();
  const auto made = nlohmann::json::parse(files_for("vllm").at("model.safetensors.index.json"));
  EXPECT_EQ(made["metadata"]["total_size"], bytes);
}

}  // namespace
}  // namespace kvcalib
