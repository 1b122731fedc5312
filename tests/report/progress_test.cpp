// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/progress.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "tests/message_of.h"

namespace kvcalib {
namespace {

PassProgress after(int64_t layers_done) {
  return {layers_done,
          10,
          5000,
          static_cast<double>(layers_done) * 2.0,
          {.bytes_read = 3'000'000'000, .read_seconds = 1.5}};
}

int64_t lines_of(ProgressStyle style, int64_t layers) {
  std::ostringstream out;
  ProgressReporter reporter(out, style);
  for (int64_t layer = 1; layer <= layers; ++layer) reporter.layer(after(layer));
  const std::string text = out.str();
  return std::count(text.begin(), text.end(), '\n');
}

TEST(Progress, TellsLayersRatesAndTimeLeft) {
  EXPECT_EQ(progress_text(after(4)),
            "layer 4 of 10, 2500 tokens/s a layer, reading 2.00 GB/s, 12 s left");
  EXPECT_HOLDS("0 s left", progress_text(after(10)));
}

TEST(Progress, TellsNoRateOfReadingWhereNothingWasRead) {
  EXPECT_HOLDS("reading 0.00 GB/s", progress_text({1, 2, 1, 1.0, {}}));
}

TEST(Progress, AlwaysTellsTheFirstAndTheLastLine) {
  EXPECT_EQ(lines_of(ProgressStyle::kLines, 10), 2);
  EXPECT_EQ(lines_of(ProgressStyle::kNone, 10), 0);
}

TEST(Progress, LeavesATerminalsLineClean) {
  std::ostringstream out;
  {
    ProgressReporter reporter(out, ProgressStyle::kTerminal);
    reporter.layer(after(1));
    EXPECT_TRUE(out.str().ends_with("s left"));
  }
  EXPECT_TRUE(out.str().ends_with("\r\x1b[K"));
}

TEST(Progress, IsNotShownWhereQuietIsAskedFor) {
  EXPECT_EQ(progress_style(true), ProgressStyle::kNone);
  EXPECT_NE(progress_style(false), ProgressStyle::kNone);
}

}  // namespace
}  // namespace kvcalib
