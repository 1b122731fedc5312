// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/releases.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "tests/message_of.h"

namespace kvcalib {
namespace {

// As messages list them: from the first to the last of each minor.
std::string listed() {
  std::map<int, std::pair<std::string, std::string>> minors;
  for (const TurboMindRelease& release : turbomind_releases()) {
    const auto minor = minors.try_emplace(release.minor, release.name(), release.name()).first;
    minor->second.second = release.name();
  }
  std::string text;
  for (const auto& [minor, ends] : minors)
    text += concat(text.empty() ? "" : ", ", ends.first,
                   ends.first == ends.second ? "" : " to " + ends.second);
  return text;
}

TEST(TurboMindReleases, AreFoundByTheirNames) {
  std::set<std::string> names;
  for (const TurboMindRelease& release : turbomind_releases()) {
    const std::string name = release.name();
    EXPECT_TRUE(names.insert(name).second) << name << " twice";
    EXPECT_EQ(&find_turbomind_release(name), &release);
    EXPECT_EQ(&find_turbomind_release(name.substr(1)), &release);
  }
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
                        "v0.4.0; calibrate for ", listed(), ", or start it with --quant-policy 8"),
                 message_of([&] { find_turbomind_release(text); }));
  }
}

TEST(TurboMindReleases, AreNamedForWhatIsNone) {
  for (const char* text : {"0.0.1", "0.3", "", "v", "latest", "0.3.0.1", "0.3.0rc1", "-0.3.0",
                           "0.3.", "0..3.0", " 0.3.0"}) {
    EXPECT_HOLDS("known are " + listed(), message_of([&] { find_turbomind_release(text); }));
  }
  // Nor is what would come behind the last of a minor.
  const auto releases = turbomind_releases();
  for (size_t i = 0; i < releases.size(); ++i) {
    if (i + 1 < releases.size() && releases[i + 1].minor == releases[i].minor) continue;
    const std::string next = concat("0.", releases[i].minor, '.', releases[i].patch + 1);
    EXPECT_HOLDS("known are " + listed(), message_of([&] { find_turbomind_release(next); }));
  }
}

TEST(TurboMindReleases, KnowFromWhichOneOnAThingIsSo) {
  const auto releases = turbomind_releases();
  const auto from = [&](size_t index) {
    return since([&, index](const TurboMindRelease& release) {
      return std::pair(release.minor, release.patch) >=
             std::pair(releases[index].minor, releases[index].patch);
    });
  };
  for (size_t i = 0; i + 1 < releases.size(); ++i)
    EXPECT_EQ(from(i), releases[i].name() + " or later");
  EXPECT_EQ(from(releases.size() - 1), releases.back().name());
}

TEST(TurboMindReleases, DoNotCountOneBeforeAGap) {
  const auto releases = turbomind_releases();
  const auto but_the_second = [&](const TurboMindRelease& release) {
    return release.name() != releases[1].name();
  };
  EXPECT_EQ(since(but_the_second), releases[2].name() + " or later");
  const auto but_the_last = [&](const TurboMindRelease& release) {
    return release.name() != releases.back().name();
  };
  EXPECT_EQ(since(but_the_last), "no release up to " + releases.back().name());
}

// What messages send a user to later releases for must not end there.
TEST(TurboMindReleases, KeepWhatALaterOneIsNamedFor) {
  using Release = TurboMindRelease;
  const std::function<bool(const Release&)> facts[] = {
      &Release::cuts_while_loading,
      &Release::pads_rows,
      &Release::reads_bfloat16,
      &Release::int8_beside_bfloat16,
      &Release::reads_rope_theta,
      &Release::reads_use_logn_attn,
      &Release::scales_linearly,
      &Release::takes_outputs_stats_for_awq,
      [](const Release& release) { return release.scale_values == 4; },
      [](const Release& release) { return release.longest_int8_prefill == 0; },
      [](const Release& release) { return release.dynamic_ntk != DynamicNtk::kUnknown; },
  };
  const auto releases = turbomind_releases();
  for (const auto& fact : facts)
    EXPECT_TRUE(std::is_partitioned(releases.begin(), releases.end(), std::not_fn(fact)) &&
                fact(releases.back()))
        << since(fact);
}

// What a release reads its converter writes, and the other way round.
TEST(TurboMindReleases, DecodeByTheirOwnRules) {
  const DecodingRule away{true, true}, exact{true, false}, plain{false, false};
  EXPECT_EQ(find_turbomind_release("0.0.2").decoding, away);
  EXPECT_EQ(find_turbomind_release("0.0.14").decoding, away);
  EXPECT_EQ(find_turbomind_release("0.1.0").decoding, exact);
  EXPECT_EQ(find_turbomind_release("0.2.6").decoding, exact);
  EXPECT_EQ(find_turbomind_release("0.3.0").decoding, plain);
}

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
