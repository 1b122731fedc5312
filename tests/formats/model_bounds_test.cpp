// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/model_bounds.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/message_of.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::string refusal(const std::function<void(ModelConfig&)>& change) {
  ModelConfig model = fixture::small_model();
  change(model);
  return message_of([&] { check_model(model, {}, "file"); });
}

TEST(ModelBounds, HoldTheLargestModelsThereAre) {
  ModelConfig model = fixture::small_model();
  EXPECT_NO_THROW(check_model(model, {}, ""));
  model.layers = 126;
  model.hidden = 53248;
  model.heads = 416;
  model.kv_heads = 8;
  model.head_dim = 128;
  model.intermediate = 262144;
  model.vocab = 1 << 20;
  model.max_position_embeddings = 10 << 20;
  model.own_rotation = RopeScaling{RopeScaling::Kind::kLlama3, 8.0, 1.0, 4.0, 8192};
  EXPECT_NO_THROW(check_model(model, {}, ""));
}

TEST(ModelBounds, RefuseWhatNoModelHas) {
  using Kind = RopeScaling::Kind;
  const std::pair<std::function<void(ModelConfig&)>, const char*> cases[] = {
      {[](ModelConfig& m) { m.layers = 0; },
       "file: layers = 0, expected a whole number from 1 to 65536"},
      {[](ModelConfig& m) { m.layers = 100'000'000'000; }, "layers = 100000000000, expected"},
      {[](ModelConfig& m) { m.heads = m.kv_heads = int64_t{1} << 62; },
       "heads = 46116860184273879"},
      {[](ModelConfig& m) { m.kv_heads = -4; }, "kv_heads = -4, expected"},
      {[](ModelConfig& m) { m.kv_heads = 3; }, "heads = 4 is not divisible by kv_heads = 3"},
      {[](ModelConfig& m) { m.head_dim = 0; }, "head_dim = 0, expected an even number up to 256"},
      {[](ModelConfig& m) { m.head_dim = 15; }, "head_dim = 15, expected an even number"},
      {[](ModelConfig& m) { m.head_dim = 258; }, "head_dim = 258, expected an even number"},
      {[](ModelConfig& m) { m.hidden = int64_t{1} << 31; }, "hidden = 2147483648, expected"},
      {[](ModelConfig& m) { m.intermediate = INT64_MIN; }, "intermediate = -9223372036854775808"},
      {[](ModelConfig& m) { m.vocab = INT64_MAX; }, "vocab = 9223372036854775807, expected"},
      {[](ModelConfig& m) { m.stored_ranks = int64_t{1} << 40; }, "stored_ranks = 1099511627776"},
      {[](ModelConfig& m) { m.stored_ranks = 0; }, "stored_ranks = 0, expected"},
      {[](ModelConfig& m) { m.stored_ranks = 3; }, "heads = 4 is not divisible by stored_ranks"},
      {[](ModelConfig& m) { m.stored_ranks = 4, m.kv_heads = 2; }, "kv_heads = 2 is not divisible"},
      {[](ModelConfig& m) { m.stored_ranks = 2, m.intermediate = 95; }, "intermediate = 95 is not"},
      {[](ModelConfig& m) { m.sliding_window = -1; }, "sliding_window = -1, expected"},
      {[](ModelConfig& m) { m.max_position_embeddings = -1; }, "max_position_embeddings = -1"},
      {[](ModelConfig& m) { m.session_length = INT64_MAX; }, "session_length = 922337203685477580"},
      {[](ModelConfig& m) { m.norm_eps = -1e-6; }, "norm_eps = -1e-06, expected > 0 and at most 1"},
      {[](ModelConfig& m) { m.norm_eps = 2; }, "norm_eps = 2, expected > 0 and at most 1"},
      {[](ModelConfig& m) { m.rope_theta = 0; }, "rope_theta = 0, expected > 0"},
      {[](ModelConfig& m) { m.rope_theta = kInfinity; }, "rope_theta = inf, expected > 0"},
      {[](ModelConfig& m) { m.rope_theta = -kInfinity + kInfinity; }, "nan, expected > 0"},
      {[](ModelConfig& m) { m.rope_scaling_factor = -1; }, "rope_scaling_factor = -1, expected 0"},
      {[](ModelConfig& m) {
         m.own_rotation = RopeScaling{Kind::kLinear, 0};
       },
       "factor = 0"},
      {[](ModelConfig& m) {
         m.own_rotation = RopeScaling{Kind::kDynamic, 2};
       },
       "own_rotation: original_positions = 0, expected a whole number from 1"},
      {[](ModelConfig& m) {
         m.own_rotation = RopeScaling{Kind::kLlama3, 8, 4, 1, 8192};
       },
       "own_rotation: high_frequency_factor = 1, expected more than"}};
  for (const auto& [change, expected] : cases) EXPECT_HOLDS(expected, refusal(change));
}

TEST(ModelBounds, RefuseSizesWhoseProductNoModelHas) {
  EXPECT_HOLDS("file: layers = 3, hidden = 1073741824, intermediate = 1073741824 and vocab = 50",
               refusal([](ModelConfig& m) { m.hidden = m.intermediate = kLargestSize; }));
  EXPECT_HOLDS("hidden = 1048576, intermediate = 96 and vocab = 1073741824 make a model of",
               refusal([](ModelConfig& m) { m.hidden = 1 << 20, m.vocab = kLargestSize; }));
}

TEST(ModelBounds, NameTheKeysAsTheFileDoes) {
  ModelConfig model = fixture::small_model();
  model.stored_ranks = 3;
  EXPECT_HOLDS("config.ini: head_num = 4 is not divisible by tensor_para_size = 3", message_of([&] {
                 check_model(model, {.heads = "head_num", .stored_ranks = "tensor_para_size"},
                             "config.ini");
               }));
}

}  // namespace
}  // namespace kvcalib
