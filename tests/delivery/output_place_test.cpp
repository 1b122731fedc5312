// SPDX-License-Identifier: Apache-2.0
#include "calibrate/delivery/output_place.h"

#include <gtest/gtest.h>

#include "tests/message_of.h"
#include "tests/output/output_folder.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

class OutputPlace : public testing::Test {
 protected:
  OutputPlace() { fs::create_directory(weights_); }

  const std::vector<std::string> turbomind_{"turbomind"};
  OutputFolder folder_;
  fs::path weights_ = folder_.path() / "weights";
  OutputOptions in_directory_{folder_.path() / "results", false, false};
  OutputOptions in_place_{std::nullopt, true, false};
};

TEST_F(OutputPlace, IsANewDirectoryOrTheWeights) {
  put(weights_, {{"config.ini", "old"}});
  for (const OutputOptions& options : {in_directory_, in_place_}) {
    const auto output = open_output(options, turbomind_, weights_);
    output->write("config.ini", std::string_view("new"));
    output->commit();
  }
  EXPECT_EQ(output_path(in_directory_, weights_), folder_.path() / "results");
  EXPECT_EQ(output_path(in_place_, weights_), weights_);
  EXPECT_EQ(visible(folder_.path() / "results"), (Files{{"config.ini", "new"}}));
  EXPECT_EQ(visible(weights_).at("config.ini"), "new");
}

TEST_F(OutputPlace, IsAsBeforeWhereNothingIsCommitted) {
  put(weights_, {{"config.ini", "old"}});
  for (const OutputOptions& options : {in_directory_, in_place_})
    open_output(options, turbomind_, weights_)->write("config.ini", std::string_view("new"));
  EXPECT_FALSE(fs::exists(folder_.path() / "results"));
  EXPECT_EQ(visible(weights_), (Files{{"config.ini", "old"}}));
  EXPECT_TRUE(is_tidy(weights_));
}

TEST_F(OutputPlace, IsNotTheWeightsOfAHuggingFaceModel) {
  put(weights_, {{"config.json", "{}"}});
  EXPECT_HOLDS("is a Hugging Face directory",
               message_of([&] { open_output(in_place_, turbomind_, weights_); }));
  EXPECT_EQ(message_of([&] { open_output(in_directory_, turbomind_, weights_); }),
            "nothing was thrown");
}

// A rank0.safetensors may be anybody's.
TEST_F(OutputPlace, IsReplacedOnlyWhereItWasMadeForThatReader) {
  const fs::path results = folder_.path() / "results";
  fs::create_directory(results);
  const OutputOptions forced{results, false, true};
  const std::vector<std::string> reader{"tensorrt-llm"}, two{"tensorrt-llm", "lightllm"};
  const auto said = [&](const std::vector<std::string>& readers) {
    return message_of([&] { open_output(forced, readers, weights_); });
  };
  EXPECT_EQ(said(reader), "nothing was thrown");
  put(results, {{"rank0.safetensors", "a model's"}});
  EXPECT_HOLDS("holds 'rank0.safetensors', which is not kvcalib's", said(reader));
  put(results, {{"summary.json", R"({"program": "kvcalib", "for": "vllm"})"}});
  EXPECT_HOLDS("holds 'rank0.safetensors', which is not kvcalib's", said(reader));
  put(results, {{"summary.json", R"({"program": "kvcalib", "for": "tensorrt-llm"})"}});
  EXPECT_EQ(said(reader), "nothing was thrown");
  fs::create_directory(folder_.path() / "folders");
  fs::rename(results, folder_.path() / "folders" / "tensorrt-llm");
  fs::rename(folder_.path() / "folders", results);
  EXPECT_EQ(said(two), "nothing was thrown");
  put(results / "tensorrt-llm", {{"summary.json", "{}"}});
  EXPECT_HOLDS("holds 'tensorrt-llm/rank0.safetensors'", said(two));
}

TEST_F(OutputPlace, IsClearedOfWhatAKilledRunLeft) {
  fs::create_directory(folder_.path() / ".results.kvcalib-partial");
  clear_output(in_directory_, turbomind_, weights_);
  EXPECT_FALSE(fs::exists(folder_.path() / ".results.kvcalib-partial"));
  fs::create_directories(weights_ / ".kvcalib-transaction" / "next");
  clear_output(in_place_, turbomind_, weights_);
  EXPECT_TRUE(is_tidy(weights_));
}

}  // namespace
}  // namespace kvcalib
