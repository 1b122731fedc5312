// SPDX-License-Identifier: Apache-2.0
#include "sharding/writing/turbomind_writer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>

#include "sharding/files/metadata_file.h"
#include "sharding/formats/hugging_face_directory.h"
#include "sharding/formats/open_weights.h"
#include "sharding/formats/turbomind_directory.h"
#include "tests/hugging_face_fixture.h"
#include "tests/message_of.h"

namespace kvcalib {
namespace {

using fixture::TemporaryFolder;

// The weight files of a folder, by name.
std::map<std::string, std::string> files_of(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().filename() != "config.ini")
      files[entry.path().filename().string()] = read_metadata_file(entry.path());
  }
  return files;
}

ModelConfig cut_model(int64_t ranks) {
  ModelConfig config = fixture::biased_model();
  config.stored_ranks = ranks;
  return config;
}

TurboMindCut cut_of(const ModelConfig& config) {
  const int64_t ranks = config.stored_ranks;
  return {ranks, config.weight_type, (config.vocab + ranks - 1) / ranks * ranks, true};
}

// What the writer makes of `source` when it cuts it as `expected` is cut, and what it should be.
void expect_cut(const WeightDirectory& source, const ModelConfig& expected) {
  const TemporaryFolder found, by_hand;
  fixture::write_weights(by_hand.path(), expected);
  write_turbomind_weights(source, cut_of(expected), found.path(), {});
  EXPECT_EQ(files_of(found.path()), files_of(by_hand.path()))
      << source.config().stored_ranks << " to " << expected.stored_ranks;
}

TEST(TurboMindWriter, CutsWhatIsCutOtherwise) {
  for (const int64_t from : {1, 2, 4}) {
    const TemporaryFolder folder;
    fixture::write_weights(folder.path(), cut_model(from));
    const TurboMindDirectory source = TurboMindDirectory::open(folder.path());
    for (const int64_t to : {1, 2, 4}) expect_cut(source, cut_model(to));
  }
}

TEST(TurboMindWriter, CutsAHuggingFaceModel) {
  for (const char* dtype : {"F16", "F32"}) {
    const TemporaryFolder folder;
    const ModelConfig model = cut_model(2);
    fixture::write_hugging_face(folder.path(), model, {.dtype = dtype});
    expect_cut(*open_weights(folder.path()), model);
  }
}

TEST(TurboMindWriter, ListsTheFilesThatItWrites) {
  const TemporaryFolder folder, found;
  fixture::write_weights(folder.path(), cut_model(1));
  const TurboMindDirectory source = TurboMindDirectory::open(folder.path());
  const TurboMindCut cut = cut_of(cut_model(4));
  write_turbomind_weights(source, cut, found.path(), {});
  std::map<std::string, uint64_t> listed, written;
  for (const TurboMindFile& file : turbomind_files(source.config(), cut))
    listed[file.name] = file.bytes;
  for (const auto& [name, bytes] : files_of(found.path())) written[name] = bytes.size();
  EXPECT_EQ(listed, written);
}

TEST(TurboMindWriter, TellsHowFarItIs) {
  const TemporaryFolder folder, found;
  fixture::write_weights(folder.path(), cut_model(1));
  const TurboMindDirectory source = TurboMindDirectory::open(folder.path());
  std::vector<WritingProgress> told;
  write_turbomind_weights(source, cut_of(cut_model(2)), found.path(),
                          {[&](const WritingProgress& progress) { told.push_back(progress); }, {}});
  ASSERT_EQ(told.size(), 3U);
  for (size_t i = 0; i < told.size(); ++i) {
    EXPECT_EQ(told[i].layers_done, static_cast<int64_t>(i) + 1);
    EXPECT_EQ(told[i].layers, 3);
  }
  EXPECT_LT(told[0].bytes_written, told[1].bytes_written);
  EXPECT_EQ(told.back().bytes_written, told.back().bytes);
}

TEST(TurboMindWriter, LeavesWhenItIsStopped) {
  const TemporaryFolder folder, found;
  fixture::write_weights(folder.path(), cut_model(1));
  const TurboMindDirectory source = TurboMindDirectory::open(folder.path());
  std::atomic<int64_t> asked{0};
  EXPECT_HOLDS("stopped", message_of([&] {
                 write_turbomind_weights(source, cut_of(cut_model(1)), found.path(),
                                         {{}, [&] { return ++asked > 10; }});
               }));
}

TEST(TurboMindWriter, RefusesAValueThatFloat16DoesNotHold) {
  const TemporaryFolder folder, found;
  ModelConfig model = cut_model(1);
  model.weight_type = WeightType::kBFloat16;
  fixture::write_weights(folder.path(), model);
  fixture::write_elements(folder.path() / "layers.1.feed_forward.w2.0.weight", 96, 64,
                          [](int64_t row, int64_t column) {
                            return row == 95 && column == 63 ? uint16_t{0x4780} : uint16_t{0};
                          });  // 65536
  const TurboMindDirectory source = TurboMindDirectory::open(folder.path());
  EXPECT_HOLDS(
      "layers.1.feed_forward.w2.0.weight: the model has a value here that overflows",
      message_of([&] { write_turbomind_weights(source, cut_of(cut_model(1)), found.path(), {}); }));
}

}  // namespace
}  // namespace kvcalib
