// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/hugging_face_directory.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "sharding/files/ranged_file.h"
#include "sharding/formats/fingerprint.h"
#include "sharding/formats/open_weights.h"
#include "tests/hugging_face_fixture.h"
#include "tests/message_of.h"

namespace kvcalib {
namespace {

using fixture::biased_model;
using fixture::element_bits;
using fixture::HuggingFaceModel;
using fixture::small_model;
using fixture::TemporaryFolder;
using fixture::write_file;
using fixture::write_hugging_face;

// The image of a layer, read as its plan says.
std::vector<std::byte> read_layer(const LayerPlan& plan) {
  std::vector<std::byte> image(plan.image_bytes);
  for (const FileRange& range : plan.ranges) {
    EXPECT_EQ(range.image_offset % 256, 0u);
    RangedFile(range.file)
        .read(range.offset, std::span(image).subspan(range.image_offset, range.bytes));
  }
  return image;
}

uint16_t bits_at(const std::byte* element, ElementType type) {
  uint16_t bits = 0;
  float value = 0;
  if (type != ElementType::kFloat32) {
    std::memcpy(&bits, element, sizeof bits);
    return bits;
  }
  std::memcpy(&value, element, sizeof value);
  return kernels::from_float<kernels::Half>(value).bits;
}

// Counts the elements of the whole tensors that the layer's blocks do not fill, fill twice, or fill
// with what another place should hold.
int64_t wrong_elements(const WeightDirectory& directory, int64_t layer, bool has_output_bias) {
  const ModelConfig& config = directory.config();
  const LayerPlan plan = directory.layer_plan(layer);
  const std::vector<std::byte> image = read_layer(plan);
  int64_t wrong = 0;
  for (int64_t i = 0; i < kLayerTensors; ++i) {
    const auto tensor = static_cast<LayerTensor>(i);
    const auto [rows, columns] = tensor_shape(config, tensor);
    const bool there =
        has_tensor(config, tensor) && (tensor != LayerTensor::kOutputBias || has_output_bias);
    std::vector<int> filled(static_cast<size_t>(rows * columns), 0);
    for (const TensorBlock& block : plan.blocks) {
      if (block.tensor != tensor) continue;
      for (int64_t row = 0; row < block.rows; ++row) {
        for (int64_t column = 0; column < block.columns; ++column) {
          const int64_t in_row = block.row + row;
          const int64_t in_column = block.column + column * block.column_step;
          const auto element =
              static_cast<uint64_t>(row * block.row_stride + column * block.column_stride);
          const uint64_t place = block.image_offset + element * element_bytes(block.type);
          wrong +=
              bits_at(&image.at(place), block.type) != element_bits(layer, i, in_row, in_column);
          ++filled.at(static_cast<size_t>(in_row * columns + in_column));
        }
      }
    }
    wrong += std::count_if(filled.begin(), filled.end(),
                           [&](int times) { return times != (there ? 1 : 0); });
  }
  return wrong;
}

int64_t wrong_elements(const WeightDirectory& directory, bool has_output_bias = false) {
  int64_t wrong = 0;
  for (int64_t layer = 0; layer < directory.config().layers; ++layer)
    wrong += wrong_elements(directory, layer, has_output_bias);
  return wrong;
}

std::string refusal(const TemporaryFolder& folder) {
  return message_of([&] { open_weights(folder.path()); });
}

std::string refusal(const ModelConfig& config, const HuggingFaceModel& model) {
  const TemporaryFolder folder;
  write_hugging_face(folder.path(), config, model);
  return refusal(folder);
}

TEST(HuggingFaceDirectory, RebuildsEveryTensorOfEveryFamily) {
  ModelConfig grouped = small_model();
  grouped.kv_heads = 2;
  ModelConfig grouped_biased = grouped;
  grouped_biased.attention_bias = true;
  ModelConfig normalised = grouped;
  normalised.query_key_norm = true;
  normalised.head_dim = 24;  // not hidden / heads
  const struct {
    const char* architecture;
    ModelConfig config;
    bool output_bias = false;
  } cases[] = {{"LlamaForCausalLM", small_model()},
               {"LlamaForCausalLM", grouped_biased, true},
               {"LLaMAForCausalLM", grouped},
               {"MistralForCausalLM", grouped},
               {"InternLMForCausalLM", biased_model(), true},
               {"InternLMForCausalLM", small_model()},
               {"InternLM2ForCausalLM", grouped},
               {"InternLM2ForCausalLM", grouped_biased, true},
               {"QWenLMHeadModel", biased_model()},
               {"Qwen2ForCausalLM", grouped_biased},
               {"Qwen3ForCausalLM", normalised},
               {"BaichuanForCausalLM", small_model()},
               {"BaiChuanForCausalLM", small_model()}};
  for (const auto& [architecture, config, output_bias] : cases) {
    const TemporaryFolder folder;
    write_hugging_face(folder.path(), config, {.architecture = architecture});
    const auto directory = open_weights(folder.path());
    EXPECT_EQ(wrong_elements(*directory, output_bias), 0) << architecture;
    EXPECT_EQ(directory->config().attention_bias, config.attention_bias) << architecture;
    EXPECT_EQ(directory->config().query_key_norm, config.query_key_norm) << architecture;
    EXPECT_EQ(directory->config().intermediate, config.intermediate) << architecture;
    EXPECT_EQ(directory->config().head_dim, config.head_dim) << architecture;
    EXPECT_EQ(directory->config().stored_ranks, 1) << architecture;
  }
}

TEST(HuggingFaceDirectory, ReadsEveryElementTypeFromAnyNumberOfFiles) {
  for (const char* const dtype : {"F16", "BF16", "F32"}) {
    for (const int files : {1, 2, 3}) {
      const TemporaryFolder folder;
      ModelConfig config = small_model();
      if (std::string(dtype) == "BF16") config.weight_type = WeightType::kBFloat16;
      write_hugging_face(folder.path(), config, {.dtype = dtype, .files = files});
      const auto directory = open_weights(folder.path());
      EXPECT_EQ(wrong_elements(*directory), 0) << dtype << ", " << files << " files";
      EXPECT_EQ(directory->config().weight_type, config.weight_type);
    }
  }
}

TEST(HuggingFaceDirectory, ReadsForwards) {
  const TemporaryFolder folder;
  write_hugging_face(folder.path(), small_model(), {.files = 2});
  const LayerPlan plan = open_weights(folder.path())->layer_plan(1);
  for (size_t i = 1; i < plan.ranges.size(); ++i) {
    const FileRange &before = plan.ranges[i - 1], &range = plan.ranges[i];
    EXPECT_GE(range.image_offset, before.image_offset + before.bytes);
    EXPECT_TRUE(before.file < range.file || before.offset < range.offset);
  }
}

TEST(HuggingFaceDirectory, HasTheFingerprintOfItsTurboMindForm) {
  const TemporaryFolder turbomind;
  ModelConfig config = small_model();
  config.kv_heads = 2;
  config.stored_ranks = 2;
  fixture::write_weights(turbomind.path(), config);
  const std::string expected = weights_fingerprint(*open_weights(turbomind.path()));
  for (const char* const dtype : {"F16", "F32"}) {
    for (const char* const architecture : {"LlamaForCausalLM", "InternLM2ForCausalLM"}) {
      const TemporaryFolder folder;
      write_hugging_face(folder.path(), config, {.architecture = architecture, .dtype = dtype});
      EXPECT_EQ(weights_fingerprint(*open_weights(folder.path())), expected)
          << architecture << " " << dtype;
    }
  }
}

// Row `row` of a table, as bits.
std::vector<uint16_t> table_row(const EmbeddingTable& table, int64_t row, int64_t hidden) {
  std::vector<uint16_t> bits(static_cast<size_t>(hidden));
  RangedFile(table.file)
      .read(table.offset + static_cast<uint64_t>(row * hidden) * 2,
            std::as_writable_bytes(std::span(bits)));
  return bits;
}

TEST(HuggingFaceDirectory, FindsEmbeddingHeadAndFinalNorm) {
  const auto norm = static_cast<int64_t>(LayerTensor::kAttentionNorm);
  for (const char* const architecture : {"LlamaForCausalLM", "InternLM2ForCausalLM"}) {
    const TemporaryFolder folder;
    write_hugging_face(folder.path(), small_model(), {.architecture = architecture});
    const auto directory = open_weights(folder.path());
    for (const EmbeddingTable& table : {directory->embedding(), directory->head()}) {
      EXPECT_EQ(table.rows, 50);
      EXPECT_EQ(table_row(table, 49, 64)[63], element_bits(99, 9, 49, 63));
      EXPECT_FALSE(table.normalise_rows);
    }
    EXPECT_NE(directory->embedding().offset, directory->head().offset);
    EXPECT_EQ(directory->final_norm().rows, 1);
    EXPECT_EQ(table_row(directory->final_norm(), 0, 64)[5], element_bits(99, norm, 0, 5));
  }
}

TEST(HuggingFaceDirectory, TakesTheEmbeddingAsHeadWhereTheyAreTied) {
  const TemporaryFolder folder;
  write_hugging_face(folder.path(), small_model(), {.tied = true, .has_head = false});
  const auto directory = open_weights(folder.path());
  EXPECT_EQ(directory->head().offset, directory->embedding().offset);
  EXPECT_HOLDS("no safetensors file holds tensor 'lm_head.weight', expected with shape [50, 64]",
               refusal(small_model(), {.has_head = false}));
}

// Rewrites the tensors of a model of one file.
void change_tensors(const TemporaryFolder& folder,
                    const std::function<void(std::map<std::string, SafetensorsTensor>&)>& change) {
  const auto path = folder.path() / "model.safetensors";
  Safetensors model = Safetensors::read(path);
  change(model.tensors);
  write_file(path, safetensors_bytes(model));
}

void rename_tensors(const TemporaryFolder& folder,
                    const std::function<std::string(const std::string&)>& name) {
  change_tensors(folder, [&](auto& tensors) {
    std::map<std::string, SafetensorsTensor> renamed;
    for (auto& [old, tensor] : tensors) renamed[name(old)] = std::move(tensor);
    tensors = std::move(renamed);
  });
}

TEST(HuggingFaceDirectory, TakesEitherOfTiedOnesAndEachWhereBothAreStored) {
  const TemporaryFolder folder;
  write_hugging_face(folder.path(), small_model(), {.tied = true});
  auto directory = open_weights(folder.path());
  EXPECT_NE(directory->head().offset, directory->embedding().offset) << "as in transformers 5";
  change_tensors(folder, [](auto& tensors) { tensors.erase("model.embed_tokens.weight"); });
  directory = open_weights(folder.path());
  EXPECT_EQ(directory->head().offset, directory->embedding().offset);
  EXPECT_EQ(table_row(directory->embedding(), 49, 64)[63], element_bits(99, 9, 49, 63));
}

TEST(HuggingFaceDirectory, FindsNamesWithMoreInFrontOfThemOrLess) {
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

TEST(HuggingFaceDirectory, TakesNoOneOfTwoModelsUnlessOneHasTheFamilysNames) {
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

TEST(HuggingFaceDirectory, ReadsTheBiasesOfTheMlp) {
  ModelConfig config = small_model();
  config.mlp_bias = true;
  const TemporaryFolder folder;
  write_hugging_face(folder.path(), config);
  EXPECT_EQ(wrong_elements(*open_weights(folder.path())), 0);
  EXPECT_TRUE(open_weights(folder.path())->config().mlp_bias);
  EXPECT_HOLDS(
      "mlp.down_proj.bias' is not one of a LlamaForCausalLM with 3 layers and no biases of the "
      "MLP, which config.json describes (mlp_bias is not true)",
      refusal(config, {.config_changes = {{"mlp_bias", nullptr}}}));
}

TEST(HuggingFaceDirectory, StatesWhatItFindsAndNoCauseThatItDoesNotKnow) {
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
      "'model.layers.1.input_layernorm.weight' is empty (shape [0]), expected [64]; a model that "
      "was saved under DeepSpeed ZeRO-3",
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

// What opening a directory warns of, end to end.
std::string warnings_of(const TemporaryFolder& folder) {
  std::string all;
  const auto directory = open_weights(folder.path());
  for (const std::string& warning : directory->warnings()) all += warning + "\n";
  return all;
}

TEST(HuggingFaceDirectory, ReadsAModelOfWhichOnlyTheCacheIsQuantised) {
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

TEST(HuggingFaceDirectory, RefusesAnAdapterThatIsNotMergedAndNamesTheWay) {
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

TEST(HuggingFaceDirectory, WarnsOfCodeOfTheModelsOwnWhereTransformersHasTheFamily) {
  const nlohmann::json code = {{"auto_map", {{"AutoModelForCausalLM", "modeling_x.X"}}}};
  const TemporaryFolder llama, internlm;
  write_hugging_face(llama.path(), small_model(), {.config_changes = code});
  EXPECT_HOLDS("auto_map names code that comes with the model", warnings_of(llama));
  write_hugging_face(internlm.path(), small_model(),
                     {.architecture = "InternLM2ForCausalLM", .config_changes = code});
  EXPECT_EQ(warnings_of(internlm), "");
}

TEST(HuggingFaceDirectory, NormalisesTheHeadOfBaichuan2) {
  const TemporaryFolder folder;
  ModelConfig config = small_model();
  config.vocab = 125696;
  config.hidden = 4;
  config.heads = config.kv_heads = 1;
  config.head_dim = 4;
  write_hugging_face(folder.path(), config, {.architecture = "BaichuanForCausalLM"});
  EXPECT_TRUE(open_weights(folder.path())->head().normalise_rows);
  EXPECT_FALSE(open_weights(folder.path())->embedding().normalise_rows);
}

TEST(HuggingFaceDirectory, NamesATensorThatIsMissingOfAnotherShapeOrOneTooMany) {
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

TEST(HuggingFaceDirectory, RefusesPicklesAndDirectoriesOfNeitherKind) {
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

TEST(HuggingFaceDirectory, RefusesQuantisedWeights) {
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

TEST(HuggingFaceDirectory, IgnoresTensorsThatAreNotNeeded) {
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
