// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/releases.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/message_of.h"

namespace kvcalib {
namespace {

TEST(TurboMindReleases, AreFoundByTheirNames) {
  std::set<std::string> names;
  for (const TurboMindRelease& release : turbomind_releases()) {
    const std::string name = release.name();
    EXPECT_TRUE(names.insert(name).second) << name << " twice";
    EXPECT_EQ(&find_turbomind_release(name), &release);
    EXPECT_EQ(&find_turbomind_release(name.substr(1)), &release);
  }
  EXPECT_EQ(names.size(), 22u);
}

TEST(TurboMindReleases, StandInTheOrderInWhichTheyCame) {
  EXPECT_TRUE(std::is_sorted(turbomind_releases().begin(), turbomind_releases().end(),
                             [](const TurboMindRelease& a, const TurboMindRelease& b) {
                               return std::pair(a.minor, a.patch) < std::pair(b.minor, b.patch);
                             }));
}

TEST(TurboMindReleases, AreRefusedWithoutScaleFiles) {
  for (const char* text : {"0.4.0", "v0.4.2", "0.10.1", "1.0.0", "0.4"}) {
    EXPECT_HOLDS(concat("--runtime ", text, ": has no scale files: online KV quantization since ",
                        "v0.4.0; calibrate for v0.0.2 to v0.0.14, v0.1.0, v0.2.0 to v0.2.6, ",
                        "v0.3.0, or start it with --quant-policy 8"),
                 message_of([&] { find_turbomind_release(text); }));
  }
}

TEST(TurboMindReleases, AreNamedForWhatIsNone) {
  for (const char* text : {"0.0.1", "0.0.15", "0.1.1", "0.2.7", "0.3.1", "0.3", "", "v", "latest",
                           "0.3.0.1", "0.3.0rc1", "-0.3.0", "0.3.", "0..3.0", " 0.3.0"}) {
    EXPECT_HOLDS("known are v0.0.2 to v0.0.14, v0.1.0, v0.2.0 to v0.2.6, v0.3.0",
                 message_of([&] { find_turbomind_release(text); }));
  }
}

TEST(TurboMindReleases, KnowFromWhichOneOnAThingIsSo) {
  EXPECT_EQ(since(&TurboMindRelease::reads_rope_theta), "v0.0.8 or later");
  EXPECT_EQ(since(&TurboMindRelease::reads_bfloat16), "v0.1.0 or later");
  EXPECT_EQ(since(&TurboMindRelease::scales_linearly), "v0.3.0");
}

// What a release reads its converter writes, and the other way round.
TEST(TurboMindReleases, HaveTheConfigKeysOfWhatTheyRead) {
  for (const TurboMindRelease& release : turbomind_releases()) {
    const auto writes = [&](std::string_view key) {
      return std::find(release.config_keys.begin(), release.config_keys.end(), key) !=
             release.config_keys.end();
    };
    for (const char* key : {"quant_policy", "use_context_fmha", "tensor_para_size", "kv_head_num"})
      EXPECT_TRUE(writes(key)) << release.name() << " " << key;
    EXPECT_TRUE(writes("rope_theta") || !release.reads_rope_theta);
    EXPECT_TRUE(writes("use_dynamic_ntk") || !release.reads_use_dynamic_ntk);
    EXPECT_TRUE(writes("use_logn_attn") || !release.reads_use_logn_attn);
    EXPECT_TRUE(writes("rope_scaling_factor") || !release.reads_rope_scaling_factor);
    EXPECT_TRUE(release.reads_rope_scaling_factor || release.dynamic_ntk != DynamicNtk::kByRequest);
  }
}

}  // namespace
}  // namespace kvcalib
