// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <algorithm>

#include "calibrate/runtimes/turbomind/config_patch.h"
#include "calibrate/runtimes/turbomind/scale_files.h"
#include "calibrate/runtimes/turbomind/verify.h"
#include "calibrate/statistics/statistics_file.h"
#include "tests/message_of.h"
#include "tests/output/output_folder.h"
#include "tests/statistics/statistics_bytes.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib::fixture {

namespace fs = std::filesystem;

inline const TurboMindRelease kLatest = find_turbomind_release("0.3.0");

// The fixture's model in `ranks` files: 3 layers, 4 kv heads x 16.
inline ModelConfig model(int64_t ranks) {
  ModelConfig config = fixture::small_model();
  config.stored_ranks = ranks;
  return config;
}

// Ranges that differ by layer, head and channel.
inline KvStatistics statistics(float size = 1.0f) {
  KvStatistics result(3, 4, 16);
  for (size_t i = 0; i < 3 * 4 * 16; ++i) {
    const float extent = size * (1.0f + 0.01f * static_cast<float>(i));
    result.keys.minimum[i] = -extent;
    result.keys.maximum[i] = 2 * extent;
    result.values.minimum[i] = -0.5f * extent;
    result.values.maximum[i] = 0.25f * extent;
  }
  return result;
}

class VerifyFixture : public testing::Test {
 protected:
  // The whole output of a run for `ranks` serving ranks.
  void write_output(int64_t ranks, const TurboMindRelease& release = kLatest,
                    const ScaleMethod& method = ScaleMethod::kAsymmetric) {
    const IniFile config = IniFile::parse(fixture::config_text(model(ranks)), "config.ini");
    put(folder_.path(), {{"config.ini", patch_config(config, release).text()}});
    write_scales(statistics(), ranks, release, method);
    put(folder_.path(),
        {{kStatisticsFileName, to_safetensors(statistics(), provenance_of(model(ranks)))}});
  }
  void write_scales(const KvStatistics& ranges, int64_t ranks,
                    const TurboMindRelease& release = kLatest,
                    const ScaleMethod& method = ScaleMethod::kAsymmetric) {
    for (const OutputFile& file :
         scale_files(compute_scales(ranges, ranks, method), ranks, release)) {
      put(folder_.path(), {{file.name, file.bytes}});
    }
  }
  void write_scale(int64_t layer, int64_t rank, const KvScale& scale) {
    put(folder_.path(), {{scale_file_name(layer, rank), scale_file_bytes(scale, kLatest)}});
  }
  void remove(const std::string& name) { fs::remove(folder_.path() / name); }
  void edit_config(const char* key, const char* value) {
    const fs::path path = folder_.path() / "config.ini";
    const std::string text = IniFile::read(path).with(key, value).text();
    put(folder_.path(), {{"config.ini", text}});
  }

  VerifyReport verify(std::optional<int64_t> ranks = std::nullopt,
                      const TurboMindRelease& release = kLatest) {
    return verify_directory(folder_.path(), release, ranks);
  }
  // The one fault there is.
  std::string fault(std::optional<int64_t> ranks = std::nullopt,
                    const TurboMindRelease& release = kLatest) {
    const VerifyReport report = verify(ranks, release);
    std::string text;
    for (const std::string& line : report.faults) text += line + "\n";
    EXPECT_EQ(report.faults.size(), 1u) << text;
    return text;
  }
  static bool notes(const VerifyReport& report, std::string_view part) {
    return std::any_of(report.notes.begin(), report.notes.end(), [&](const std::string& note) {
      return note.find(part) != std::string::npos;
    });
  }

  OutputFolder folder_;
};

}  // namespace kvcalib::fixture
