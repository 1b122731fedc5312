// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/runtime.h"

#include <gtest/gtest.h>

#include "calibrate/runtimes/turbomind/turbomind.h"
#include "tests/message_of.h"
#include "tests/runtimes/model_directory.h"

namespace kvcalib {
namespace {

using namespace fixture;

TEST(ServedModels, AreRefusedWithAllTheirFaultsAtOnce) {
  const auto runtime = open_turbomind("0.2.6");
  ModelConfig config = model_of_heads_128();
  EXPECT_TRUE(check_served(*runtime, {config, 2, 0, 512}).empty());
  config.weight_type = WeightType::kBFloat16;
  const std::string message = message_of([&] { check_served(*runtime, {config, 4, 0, 512}); });
  EXPECT_HOLDS("weight_type = bf16", message);
  EXPECT_HOLDS("\nkv_head_num = 2: does not divide among 4", message);
}

TEST(ServedModels, HaveRowsOnDiskOnlyWhereTheRuntimeReadsThem) {
  const ModelConfig config = model_of_heads_128();
  EXPECT_EQ(served_embedding_rows(ModelDirectory("/model", config)), 0);
  EXPECT_EQ(served_embedding_rows(
                ModelDirectory("/weights", config, IniFile::parse("[llama]\n", "config.ini"))),
            51);
}

}  // namespace
}  // namespace kvcalib
