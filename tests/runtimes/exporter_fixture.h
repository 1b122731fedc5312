// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "calibrate/runtimes/runtime_table.h"
#include "sharding/formats/open_weights.h"
#include "tests/hugging_face_fixture.h"
#include "tests/message_of.h"
#include "tests/output/output_folder.h"
#include "tests/statistics/statistics_bytes.h"

namespace kvcalib::fixture {

// The fixture's model: 3 layers, 4 kv heads x 16.  Channel i of K (over all layers and heads) spans
// [-(i + 1) / 8, (i + 1) / 16], of V [-(i + 1) / 64, (i + 1) / 32]: in each layer the last channel
// of the last head is the widest.
inline constexpr int64_t kHeads = 4, kWidth = 16, kChannels = kHeads * kWidth, kLayers = 3;

inline float key_largest(int64_t index) { return static_cast<float>(index + 1) / 8.0f; }
inline float value_largest(int64_t index) { return static_cast<float>(index + 1) / 32.0f; }

inline StatisticsFile exported_statistics() {
  StatisticsFile file{KvStatistics(kLayers, kHeads, kWidth), provenance_of(small_model())};
  for (int64_t i = 0; i < kLayers * kChannels; ++i) {
    const auto at = static_cast<size_t>(i);
    file.statistics.keys.minimum[at] = -key_largest(i);
    file.statistics.keys.maximum[at] = key_largest(i) / 2;
    file.statistics.values.minimum[at] = -value_largest(i) / 2;
    file.statistics.values.maximum[at] = value_largest(i);
  }
  return file;
}

// A Hugging Face directory of that model, statistics, and a folder for what is made of both.
class ExporterTest : public testing::Test {
 protected:
  ExporterTest() {
    std::filesystem::create_directory(output_);
    write_model("LlamaForCausalLM");
  }

  void write_model(const std::string& architecture, const std::string& model_type = "llama") {
    std::filesystem::remove_all(model_);
    HuggingFaceModel model{.architecture = architecture};
    if (!model_type.empty()) model.config_changes = {{"model_type", model_type}};
    write_hugging_face(model_, small_model(), model);
    weights_ = open_weights(model_);
  }

  static const ScaleExporter& exporter(const std::string& name) { return *find_exporter(name); }

  Files files_for(const std::string& name, int64_t ranks = 1) {
    const Checkpoint checkpoint = open_checkpoint(*weights_, name);
    const ExportTarget target{*weights_, &checkpoint, ranks};
    exporter(name).check(target);
    Files files;
    for (const OutputFile& file : exporter(name).files(target, statistics_)) {
      EXPECT_TRUE(exporter(name).is_ours(file.name)) << file.name;
      files[file.name] = file.bytes;
    }
    return files;
  }

  // Writes them with their statistics; what a test changes in them first.
  void put_files(const std::string& name, int64_t ranks = 1) {
    put(output_, files_for(name, ranks));
    TextSink sink;
    statistics_.write(sink);
    put(output_, {{kStatisticsFileName, sink.text}});
  }
  void change(const std::string& file, const std::string& from, const std::string& to) {
    std::string text = contents(output_ / file);
    ASSERT_NE(text.find(from), std::string::npos) << from << " in " << text;
    text.replace(text.find(from), from.size(), to);
    put(output_, {{file, text}});
  }
  void change_json(const std::string& file, const std::function<void(nlohmann::json&)>& action) {
    nlohmann::json json = nlohmann::json::parse(contents(output_ / file));
    action(json);
    put(output_, {{file, json.dump()}});
  }
  void change_tensors(
      const std::string& file,
      const std::function<void(std::map<std::string, SafetensorsTensor>&)>& action) {
    Safetensors tensors = Safetensors::read(output_ / file);
    action(tensors.tensors);
    put(output_, {{file, safetensors_bytes(tensors)}});
  }

  std::vector<std::string> faults(const std::string& name,
                                  std::optional<int64_t> ranks = std::nullopt) {
    return verify_export(exporter(name), output_, ranks).faults;
  }
  // The only fault.
  std::string fault(const std::string& name, std::optional<int64_t> ranks = std::nullopt) {
    const std::vector<std::string> found = faults(name, ranks);
    EXPECT_EQ(found.size(), 1u) << in_lines(found);
    return found.empty() ? "none" : found.front();
  }

  OutputFolder folder_;
  std::filesystem::path model_ = folder_.path() / "model", output_ = folder_.path() / "output";
  std::unique_ptr<WeightDirectory> weights_;
  StatisticsFile statistics_ = exported_statistics();
};

}  // namespace kvcalib::fixture
