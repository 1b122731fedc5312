// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <filesystem>

#include "calibrate/output/weights_transaction.h"
#include "tests/output/output_folder.h"

namespace kvcalib::fixture {

inline constexpr const char* kPlainConfig = "int8 = 0\n";
inline constexpr const char* kInt8Config = "int8 = 4\n";

// Weights with no set in force.
inline Files fresh() { return {{"config", kPlainConfig}, {"norm.weight", "weights"}}; }

// Weights with a set for four ranks in force and older backups beside it.
inline Files in_force() {
  return joined(part_set(2, 4, "old"), {{"config", "int8 = 4 ; old\n"},
                                        {"config.backup", kPlainConfig},
                                        {"statistics", "old statistics"},
                                        {"norm.weight", "weights"}});
}

// What a run writes: a set for two ranks.
inline Files output() {
  return joined(
      part_set(2, 2, "new"),
      {{"config", kInt8Config}, {"config.diff", "patch"}, {"statistics", "new statistics"}});
}

// What a run leaves of `before`.
inline Files after(const Files& before) {
  Files files;
  for (const auto& [name, bytes] : before) {
    if (!is_part(name)) files[name] = bytes;
  }
  files[files.contains("config.backup") ? "config.backup.2" : "config.backup"] =
      before.at("config");
  return joined(files, output());
}

inline void replace(const std::filesystem::path& folder, const Files& files,
                    const StepHook& step = {}) {
  WeightsTransaction transaction(folder, set_names(), true, step);
  for (const auto& [name, bytes] : files) transaction.write(name, bytes);
  transaction.commit();
}

class WeightsTransactionTest : public testing::Test {
 protected:
  void start_from(const Files& files) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directory(folder_);
    put(folder_, files);
  }

  OutputFolder parent_;
  std::filesystem::path folder_ = parent_.path() / "weights";
};

}  // namespace kvcalib::fixture
