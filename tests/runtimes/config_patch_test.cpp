// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/config_patch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "tests/message_of.h"
#include "tests/output/output_folder.h"

namespace kvcalib {
namespace {

IniFile config(const std::string& text) { return IniFile::parse(text, "config.ini"); }

TEST(ConfigPatch, ChangesOnlyTheKeysThatMust) {
  const IniFile before =
      config("[llama]\r\nuse_context_fmha = 1 ; fast\r\nquant_policy = 0\r\nhead_num = 8\r\n\r\n");
  EXPECT_EQ(patch_config(before, find_turbomind_release("0.3.0")).text(),
            "[llama]\r\nuse_context_fmha = 1 ; fast\r\nquant_policy = 4\r\nhead_num = 8\r\n\r\n");
  EXPECT_EQ(patch_config(before, find_turbomind_release("0.0.14")).text(),
            "[llama]\r\nuse_context_fmha = 0 ; fast\r\nquant_policy = 4\r\nhead_num = 8\r\n\r\n");
  const IniFile done = patch_config(before, find_turbomind_release("0.0.14"));
  EXPECT_EQ(patch_config(done, find_turbomind_release("0.0.14")).text(), done.text());
}

TEST(ConfigPatch, AddsWhatIsMissing) {
  EXPECT_EQ(patch_config(config("[llama]\na = 1\n"), find_turbomind_release("0.0.2")).text(),
            "[llama]\na = 1\nquant_policy = 4\nuse_context_fmha = 0\n");
}

TEST(ConfigPatch, LeavesNoFault) {
  const IniFile before = config("[llama]\nquant_policy = 5\n");
  ASSERT_EQ(config_faults(before, find_turbomind_release("0.0.14")).size(), 2u);
  EXPECT_HOLDS("config.ini: quant_policy = 5: v0.0.14 would not use the scales",
               config_faults(before, find_turbomind_release("0.0.14"))[0]);
  EXPECT_HOLDS("config.ini: no use_context_fmha: flash attention of v0.0.14",
               config_faults(before, find_turbomind_release("0.0.14"))[1]);
  EXPECT_EQ(config_faults(before, find_turbomind_release("0.1.0")).size(), 1u);
  for (const char* text : {"0.0.2", "0.1.0"}) {
    EXPECT_TRUE(config_faults(patch_config(before, find_turbomind_release(text)),
                              find_turbomind_release(text))
                    .empty());
  }
}

TEST(ConfigPatch, CutsSessionsToWhatTheReleasePrefillsWithInt8) {
  const IniFile before = config("[llama]\nsession_len = 8200\nquant_policy = 4\n");
  EXPECT_HOLDS(
      "config.ini: session_len = 8200: v0.0.14 prefills int8 KV for no more tokens; "
      "expected session_len = 4096",
      config_faults(before, find_turbomind_release("0.0.14"))[1]);
  EXPECT_EQ(patch_config(before, find_turbomind_release("0.0.14")).text(),
            "[llama]\nsession_len = 4096\nquant_policy = 4\nuse_context_fmha = 0\n");
  EXPECT_EQ(patch_config(before, find_turbomind_release("0.1.0")).text(), before.text());
}

std::string patch_of(const std::string& before, const char* release) {
  const IniFile file = config(before);
  return config_patch(file, patch_config(file, find_turbomind_release(release)));
}

TEST(ConfigPatchFile, IsEmptyWhereNothingChanges) {
  EXPECT_EQ(patch_of("[llama]\nquant_policy = 4\n", "0.3.0"), "");
}

TEST(ConfigPatchFile, ShowsThreeLinesOfContext) {
  EXPECT_EQ(patch_of("[llama]\na = 1\nb = 2\nc = 3\nquant_policy = 0\nd = 4\ne = 5\nf = 6\ng = 7\n",
                     "0.3.0"),
            "--- a/config.ini\n+++ b/config.ini\n@@ -2,7 +2,7 @@\n a = 1\n b = 2\n c = 3\n"
            "-quant_policy = 0\n+quant_policy = 4\n d = 4\n e = 5\n f = 6\n");
}

// A config whose two keys stand `gap` lines apart.
std::string config_with_gap(int gap) {
  std::string text = "[llama]\nuse_context_fmha = 1\n";
  for (int i = 0; i < gap; ++i) text += concat("key_", i, " = 0\n");
  return text + "quant_policy = 0\nlast = 0\n";
}

int64_t hunks(const std::string& patch) {
  int64_t count = 0;
  for (size_t at = 0; (at = patch.find("\n@@ ", at)) != std::string::npos; ++at) ++count;
  return count;
}

TEST(ConfigPatchFile, JoinsChangesThatShareContextAndPartsOthers) {
  for (int gap = 0; gap <= 12; ++gap)
    EXPECT_EQ(hunks(patch_of(config_with_gap(gap), "0.0.14")), gap <= 6 ? 1 : 2) << gap;
}

TEST(ConfigPatchFile, SaysWhereALastLineHasNoEnd) {
  EXPECT_EQ(patch_of("[llama]\na = 1", "0.3.0"),
            "--- a/config.ini\n+++ b/config.ini\n@@ -1,2 +1,3 @@\n [llama]\n-a = 1\n"
            "\\ No newline at end of file\n+a = 1\n+quant_policy = 4\n"
            "\\ No newline at end of file\n");
}

// Configs with both keys, one or none of them at any place, of other values, with comments, other
// sections, "\r\n" and without a last line end.
std::string random_config(std::mt19937& random) {
  const auto draw = [&](int below) {
    return static_cast<int>(random() % static_cast<unsigned>(below));
  };
  std::vector<std::string> lines;
  for (int i = draw(14); i > 0; --i)
    lines.push_back(draw(4) == 0
                        ? std::vector<std::string>{"", "; quant_policy = 4", "# x"}[draw(3)]
                        : concat("key_", i, " = ", draw(3)));
  const auto insert = [&](const std::string& line) {
    lines.insert(lines.begin() + draw(static_cast<int>(lines.size()) + 1), line);
  };
  if (draw(4) != 0)
    insert(std::vector<std::string>{"quant_policy = 0", "quant_policy=4", "Quant_Policy : 0 ; off",
                                    "quant_policy ="}[draw(4)]);
  if (draw(4) != 0)
    insert(std::vector<std::string>{"use_context_fmha = 1", "use_context_fmha = 0"}[draw(2)]);
  lines.insert(lines.begin(), "[llama]");
  if (draw(3) == 0)
    lines.insert(lines.begin(), {"[before]", "quant_policy = 0", "quant_policy = 4"});
  if (draw(3) == 0)
    lines.insert(lines.end(), {"", "[after]", "quant_policy = 4", "use_context_fmha = 0"});
  const char* const end = draw(3) == 0 ? "\r\n" : "\n";
  std::string text;
  for (const std::string& line : lines) text += line + end;
  if (draw(3) == 0) text.resize(text.size() - std::string_view(end).size());
  return text;
}

class ConfigPatchTest : public testing::Test {
 protected:
  // For random configs and a release of each kind: `check(before, after, patch)` in a folder that
  // holds them as files of these names.
  template <typename Check>
  void for_random_configs(int rounds, Check check) {
    std::mt19937 random(7);
    for (int round = 0; round < rounds; ++round) {
      const IniFile before = config(random_config(random));
      const auto& release = find_turbomind_release(round % 2 == 0 ? "0.0.14" : "0.3.0");
      const IniFile after = patch_config(before, release);
      const std::string patch = config_patch(before, after);
      ASSERT_EQ(patch.empty(), before.text() == after.text());
      put(folder_.path(), {{"before", before.text()}, {"after", after.text()}, {"patch", patch}});
      check(before.text(), after.text(), patch);
      if (testing::Test::HasFailure()) return;
    }
  }
  int run(const std::string& command) {
    return std::system(concat("cd '", folder_.path().string(), "' && ", command).c_str());
  }

  OutputFolder folder_;
};

TEST_F(ConfigPatchTest, IsAppliedByPatch) {
  if (run("patch --version >/dev/null 2>&1") != 0) GTEST_SKIP() << "no patch program";
  for_random_configs(100,
                     [&](const std::string&, const std::string& after, const std::string& patch) {
                       if (patch.empty()) return;
                       ASSERT_EQ(run("cp before config.ini && patch -s -p1 < patch"), 0) << patch;
                       EXPECT_EQ(contents(folder_.path() / "config.ini"), after) << patch;
                     });
}

TEST_F(ConfigPatchTest, IsWhatDiffSays) {
  if (run("diff --version >/dev/null 2>&1") != 0) GTEST_SKIP() << "no diff program";
  for_random_configs(100, [&](const std::string&, const std::string&, const std::string& patch) {
    run("diff -U 3 --label a/config.ini --label b/config.ini before after > expected");
    EXPECT_EQ(patch, contents(folder_.path() / "expected"));
  });
}

}  // namespace
}  // namespace kvcalib
