// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/weight_files.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "sharding/formats/open_weights.h"
#include "tests/hugging_face_fixture.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib {
namespace {

std::vector<std::filesystem::path> files_in(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

TEST(WeightFiles, AreAllThatAWeightsDirectoryHolds) {
  const fixture::TemporaryFolder folder;
  ModelConfig config = fixture::small_model();
  config.stored_ranks = 2;
  fixture::write_weights(folder.path(), config);
  EXPECT_EQ(weight_files(*open_weights(folder.path())), files_in(folder.path()));
}

TEST(WeightFiles, AreEachNamedOnceWhereOneHoldsManyTensors) {
  const fixture::TemporaryFolder folder;
  fixture::write_hugging_face(folder.path(), fixture::small_model());
  EXPECT_EQ(weight_files(*open_weights(folder.path())), files_in(folder.path()));
}

}  // namespace
}  // namespace kvcalib
