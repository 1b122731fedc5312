// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/hugging_face_directory.h"

#include "sharding/formats/fingerprint.h"
#include "tests/formats/hugging_face_model.h"

namespace kvcalib {
namespace {

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

}  // namespace
}  // namespace kvcalib
