// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/model_surroundings.h"
#include "sharding/formats/tensor_names.h"
#include "tests/formats/hugging_face_model.h"

namespace kvcalib {
namespace {

TEST(HuggingFaceFindings, FindsNamesWithMoreInFrontOfThemOrLess) {
  using Rename = std::function<std::string(const std::string&)>;
  const auto with = [](const std::string& front) -> Rename {
    return [front](const std::string& name) { return front + name; };
  };
  const auto replaced = [](const std::string& front) -> Rename {  // in place of the family's own
    return [front](const std::string& name) {
      const size_t own =
          name.starts_with("lm_head") || name.starts_with("output") ? 0 : name.find('.') + 1;
      return own == 0 ? name : front + name.substr(own);
    };
  };
  for (const char* const architecture :
       {"LlamaForCausalLM", "InternLM2ForCausalLM", "QWenLMHeadModel"}) {
    const bool is_qwen = std::string_view(architecture) == "QWenLMHeadModel";
    for (const auto& rename :
         {with("_orig_mod."), with("module."), with("language_model."), replaced(""),
          replaced("language_model."), replaced("model.language_model."), replaced("a.b.")}) {
      const TemporaryFolder folder;
      write_hugging_face(folder.path(), is_qwen ? biased_model() : small_model(),
                         {.architecture = architecture});
      rename_tensors(folder, rename);
      change_tensors(folder, [](auto& tensors) {
        tensors["vision_tower.layers.0.norm.weight"] = {"F16", {1}, "ab"};
      });
      const auto directory = open_weights(folder.path());
      EXPECT_EQ(wrong_elements(*directory), 0) << architecture;
      EXPECT_EQ(table_row(directory->head(), 49, 64)[63], element_bits(99, 9, 49, 63));
    }
  }
}

TEST(HuggingFaceFindings, TakesNoOneOfTwoModelsUnlessOneHasTheFamilysNames) {
  const TemporaryFolder folder;
  write_hugging_face(folder.path(), small_model());
  const auto add = [&](const std::string& front) {
    change_tensors(folder, [&](auto& tensors) {
      const auto copy = tensors;
      for (const auto& [name, tensor] : copy)
        if (name.starts_with("model.")) tensors[front + name] = tensor;
    });
  };
  add("ema.");
  EXPECT_EQ(wrong_elements(*open_weights(folder.path())), 0);
  rename_tensors(folder, [](const std::string& name) {
    return name.starts_with("model.") ? "one." + name : name;
  });
  EXPECT_HOLDS(
      "has tensors 'ema.model.layers.0.input_layernorm.weight' and "
      "'one.model.layers.0.input_layernorm.weight', expected those of one model",
      refusal(folder));
}

TEST(HuggingFaceFindings, TakesTheLayersThatHaveAnEmbeddingAndAFinalNormWithThem) {
  for (const char* const tower : {"vision_tower.model.", "audio.", ""}) {
    const TemporaryFolder folder;
    write_hugging_face(folder.path(), small_model());
    rename_tensors(folder, [](const std::string& name) { return "language_model." + name; });
    change_tensors(folder, [&](auto& tensors) {
      tensors[concat(tower, "layers.0.input_layernorm.weight")] = {"F16", {1}, "ab"};
      tensors[concat(tower, "norm.weight")] = {"F16", {1}, "ab"};
    });
    EXPECT_EQ(wrong_elements(*open_weights(folder.path())), 0) << tower;
  }
}

TEST(HuggingFaceFindings, NamesAHeadThatIsMissingByWholeWords) {
  const std::pair<const char*, const char*> cases[] = {
      {"model.", "'lm_head.weight'"},
      {"language_model.model.", "'language_model.lm_head.weight'"},
      {"model.language_model.", "'lm_head.weight'"},
      {"submodel.", "'lm_head.weight'"}};
  for (const auto& [front, missing] : cases) {
    const TemporaryFolder folder;
    write_hugging_face(folder.path(), small_model(), {.has_head = false});
    rename_tensors(folder, [front = std::string(front)](const std::string& name) {
      return front + name.substr(std::string_view("model.").size());
    });
    EXPECT_HOLDS(concat("no safetensors file holds tensor ", missing), refusal(folder));
  }
}

TEST(HuggingFaceFindings, StatesWhatItFindsAndNoCauseThatItDoesNotKnow) {
  const std::string norm = "model.layers.1.input_layernorm.weight";
  const auto refusal_with = [&](const std::string& name, const SafetensorsTensor& tensor) {
    const TemporaryFolder folder;
    write_hugging_face(folder.path(), small_model());
    change_tensors(folder, [&](auto& tensors) { tensors[name] = tensor; });
    return refusal(folder);
  };
  const std::string messages[] = {
      refusal_with(norm, {"F16", {0}, ""}),
      refusal_with(norm, {"F16", {1}, "ab"}),
      refusal_with(norm, {"F64", {64}, std::string(512, '\0')}),
      refusal_with("model.layers.1.mlp.gate_proj.bias", {"F16", {1}, "ab"}),
      refusal_with("model.layers.1.self_attn.rotation", {"F16", {1}, "ab"}),
      refusal(small_model(), {.has_head = false})};
  const char* const expected[] = {
      "'model.layers.1.input_layernorm.weight' is empty (shape [0]), expected [64]; a model",
      "has shape [1], expected [64] of the sizes in config.json",
      "has dtype F64, expected F16, BF16 or F32",
      "is not one of a LlamaForCausalLM with 3 layers and no biases of the MLP",
      "rotation' is not one of a LlamaForCausalLM with 3 layers, which config.json describes",
      "no safetensors file holds tensor 'lm_head.weight'"};
  for (size_t i = 0; i < std::size(expected); ++i) {
    EXPECT_HOLDS(expected[i], messages[i]);
    for (const char* const guess : {"another model", "not complete", "damaged", "quantised"})
      EXPECT_EQ(messages[i].find(guess), std::string::npos) << messages[i];
  }
}

TEST(HuggingFaceFindings, ReadsAModelOfWhichOnlyTheCacheIsQuantised) {
  const nlohmann::json scheme = {{"num_bits", 8}, {"type", "float"}};
  const nlohmann::json cache_only[] = {
      {{"quant_method", "compressed-tensors"},
       {"config_groups", nlohmann::json::object()},
       {"kv_cache_scheme", scheme}},
      {{"quant_method", "modelopt"}, {"quant_algo", nullptr}, {"kv_cache_quant_algo", "FP8"}}};
  for (const nlohmann::json& quantisation : cache_only) {
    const TemporaryFolder folder;
    write_hugging_face(folder.path(), small_model(),
                       {.config_changes = {{"quantization_config", quantisation}}});
    change_tensors(folder, [](auto& tensors) {
      tensors["model.layers.0.self_attn.k_scale"] = {"F32", {}, "abcd"};
      tensors["model.layers.0.self_attn.v_scale"] = {"BF16", {1}, "ab"};
    });
    EXPECT_EQ(wrong_elements(*open_weights(folder.path())), 0);
    EXPECT_HOLDS("quantization_config is for the cache of another runtime", warnings_of(folder));
    EXPECT_HOLDS("2 tensors k_scale and v_scale are for the cache of another", warnings_of(folder));
  }
  for (nlohmann::json quantised : cache_only) {
    quantised["config_groups"] = {{"group_0", {{"weights", scheme}}}};
    EXPECT_HOLDS("quantised weights",
                 refusal(small_model(), {.config_changes = {{"quantization_config", quantised}}}));
  }
  EXPECT_HOLDS(
      "quantised weights",
      refusal(small_model(),
              {.config_changes = {{"quantization_config",
                                   {{"quant_method", "fp8"}, {"kv_cache_scheme", "static"}}}}}));
}

TEST(HuggingFaceFindings, RefusesAnAdapterThatIsNotMergedAndNamesTheWay) {
  for (const char* const name : {"adapter_model.safetensors", "adapter_model.bin"}) {
    const TemporaryFolder folder;
    write_file(folder.path() / "adapter_config.json", "{}");
    EXPECT_HOLDS("holds an adapter (LoRA), and no model; merge it first, with peft",
                 refusal(folder));
    write_hugging_face(folder.path(), small_model());
    EXPECT_HOLDS("adapter_config.json: tells of an adapter (LoRA) whose weights are not here",
                 warnings_of(folder));
    write_file(folder.path() / name, "");
    EXPECT_HOLDS(concat(name, ": is an adapter (LoRA) of the model here, which is not merged"),
                 refusal(folder));
    EXPECT_HOLDS("merge_and_unload()", refusal(folder));
  }
  const TemporaryFolder folder;
  write_hugging_face(folder.path(), small_model());
  rename_tensors(folder, [](const std::string& name) {
    return name.find("q_proj") == std::string::npos ? name
                                                    : "base_model.model." + name + ".lora_A.x";
  });
  EXPECT_HOLDS("is of an adapter (LoRA) that is not merged into the weights", refusal(folder));
}

TEST(HuggingFaceFindings, WarnsOfCodeOfTheModelsOwnWhereTransformersHasTheFamily) {
  const nlohmann::json code = {{"auto_map", {{"AutoModelForCausalLM", "modeling_x.X"}}}};
  const TemporaryFolder llama, internlm;
  write_hugging_face(llama.path(), small_model(), {.config_changes = code});
  EXPECT_HOLDS("auto_map names code that comes with the model", warnings_of(llama));
  write_hugging_face(internlm.path(), small_model(),
                     {.architecture = "InternLM2ForCausalLM", .config_changes = code});
  EXPECT_EQ(warnings_of(internlm), "");
}

TEST(HuggingFaceFindings, WarnsOfAnotherModelTypeWhereTheModelBringsItsCode) {
  for (const char* const architecture :
       {"InternLMForCausalLM", "InternLM2ForCausalLM", "QWenLMHeadModel", "BaichuanForCausalLM"}) {
    const bool is_qwen = std::string_view(architecture) == "QWenLMHeadModel";
    const TemporaryFolder folder;
    write_hugging_face(folder.path(), is_qwen ? biased_model() : small_model(),
                       {.architecture = architecture,
                        .config_changes = {{"model_type", "other"}, {"bias", false}}});
    EXPECT_HOLDS(concat("config.json: model_type is 'other', where a ", architecture, " has '"),
                 warnings_of(folder));
  }
}

TEST(HuggingFaceFindings, NamesATensorThatIsMissingOfAnotherShapeOrOneTooMany) {
  ModelConfig config = small_model();
  config.layers = 2;
  EXPECT_HOLDS("'model.layers.2.input_layernorm.weight', expected with shape [64]",
               refusal(config, {.config_changes = {{"num_hidden_layers", 3}}}));
  EXPECT_HOLDS(
      "tensor 'model.layers.1.input_layernorm.weight' is not one of a LlamaForCausalLM "
      "with 1 layers",
      refusal(config, {.config_changes = {{"num_hidden_layers", 1}}}));
  EXPECT_HOLDS(
      "model.safetensors: tensor 'model.layers.0.self_attn.k_proj.weight' has shape "
      "[64, 64], expected [32, 64]",
      refusal(config, {.config_changes = {{"num_key_value_heads", 2}}}));
  EXPECT_HOLDS("tensor 'model.embed_tokens.weight' has shape [50, 64], expected [51, 64]",
               refusal(config, {.config_changes = {{"vocab_size", 51}}}));
  EXPECT_HOLDS("self_attn.q_proj.bias', expected with shape [64]",
               refusal(config, {.config_changes = {{"attention_bias", true}}}));
  EXPECT_HOLDS("bias' is not one of a LlamaForCausalLM with 3 layers and no such biases",
               refusal(biased_model(), {.config_changes = {{"attention_bias", false}}}));
}

TEST(HuggingFaceFindings, RefusesPicklesAndDirectoriesOfNeitherKind) {
  const TemporaryFolder folder;
  EXPECT_HOLDS("holds neither config.ini nor config.json", refusal(folder));
  write_hugging_face(folder.path(), small_model());
  std::filesystem::rename(folder.path() / "model.safetensors",
                          folder.path() / "pytorch_model-00001-of-00001.bin");
  EXPECT_HOLDS("pytorch_model-00001-of-00001.bin: is a pickle, expected model*.safetensors",
               refusal(folder));
  std::filesystem::remove(folder.path() / "pytorch_model-00001-of-00001.bin");
  EXPECT_HOLDS("holds no model*.safetensors beside config.json", refusal(folder));
  EXPECT_HOLDS("not a directory", message_of([] { open_weights("/nonexistent/weights"); }));
}

TEST(HuggingFaceFindings, RefusesQuantisedWeights) {
  EXPECT_HOLDS(
      "config.json: quantization_config is there",
      refusal(small_model(), {.config_changes = {{"quantization_config", {{"bits", 4}}}}}));
  const TemporaryFolder folder;
  write_hugging_face(folder.path(), small_model());
  const auto path = folder.path() / "model.safetensors";
  const Safetensors model = Safetensors::read(path);
  Safetensors quantised = model;
  quantised.tensors["model.layers.0.mlp.up_proj.qweight"] = {"I32", {1}, "abcd"};
  write_file(path, safetensors_bytes(quantised));
  EXPECT_HOLDS("tensor 'model.layers.0.mlp.up_proj.qweight' is of an int4", refusal(folder));
  quantised = model;
  quantised.tensors["model.layers.1.mlp.up_proj.weight"] = {
      "I8", {96, 64}, std::string(96 * 64, 'x')};
  write_file(path, safetensors_bytes(quantised));
  EXPECT_HOLDS("tensor 'model.layers.1.mlp.up_proj.weight' has dtype I8, expected F16, BF16 or F32",
               refusal(folder));
}

TEST(HuggingFaceFindings, IgnoresTensorsThatAreNotNeeded) {
  const TemporaryFolder folder;
  write_hugging_face(folder.path(), small_model());
  const auto path = folder.path() / "model.safetensors";
  Safetensors model = Safetensors::read(path);
  model.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = {"F32", {1}, "abcd"};
  model.tensors["something.else"] = {"I64", {1}, "abcdefgh"};
  write_file(path, safetensors_bytes(model));
  EXPECT_EQ(wrong_elements(*open_weights(folder.path())), 0);
}

}  // namespace
}  // namespace kvcalib
