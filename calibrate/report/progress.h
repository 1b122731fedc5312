// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <ostream>
#include <string>

#include "sharding/streaming/pass_progress.h"

namespace kvcalib {

// How progress is shown: on one line that rewrites itself, as a line now and then, or not at all.
enum class ProgressStyle { kTerminal, kLines, kNone };

// The style for stderr: none when quiet, else by what stderr is.
ProgressStyle progress_style(bool quiet);

// Tells a person where the pass stands: layer, tokens/s, GB/s read, time left.
class ProgressReporter {
 public:
  ProgressReporter(std::ostream& out, ProgressStyle style) : out_(out), style_(style) {}
  ~ProgressReporter();

  // A line on its own: what is being done now.
  void stage(const std::string& text);
  void layer(const PassProgress& progress);
  // Such a line of another kind; the first and the last are always told.
  void update(const std::string& text, bool first, bool last);
  // Leaves the terminal's line clean for what follows.
  void finish();

 private:
  std::ostream& out_;
  ProgressStyle style_;
  std::chrono::steady_clock::time_point last_line_{};
  bool line_open_ = false;
};

// "layer 3 of 82, 41200 tokens/s a layer, reading 4.10 GB/s, 12 s left"
std::string progress_text(const PassProgress& progress);

}  // namespace kvcalib
