// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/progress.h"

#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <iomanip>
#include <sstream>
#include <string_view>

namespace kvcalib {
namespace {

constexpr std::chrono::seconds kBetweenLines{10};

}  // namespace

ProgressStyle progress_style(bool quiet) {
  if (quiet) return ProgressStyle::kNone;
  const char* terminal = std::getenv("TERM");
  const bool dumb = terminal == nullptr || std::string_view(terminal) == "dumb";
  return isatty(STDERR_FILENO) != 0 && !dumb ? ProgressStyle::kTerminal : ProgressStyle::kLines;
}

std::string progress_text(const PassProgress& progress) {
  const double per_layer = progress.seconds / static_cast<double>(progress.layers_done);
  const double left = per_layer * static_cast<double>(progress.layers - progress.layers_done);
  const ReadingCost& reading = progress.reading;
  const double read_rate = reading.read_seconds > 0
                               ? static_cast<double>(reading.bytes_read) / reading.read_seconds
                               : 0.0;
  std::ostringstream text;
  text << std::fixed << "layer " << progress.layers_done << " of " << progress.layers << ", "
       << std::setprecision(0) << static_cast<double>(progress.tokens) / std::max(per_layer, 1e-9)
       << " tokens/s a layer, reading " << std::setprecision(2) << read_rate / 1e9 << " GB/s, "
       << std::setprecision(0) << std::ceil(left) << " s left";
  return text.str();
}

ProgressReporter::~ProgressReporter() { finish(); }

void ProgressReporter::finish() {
  if (line_open_) out_ << "\r\x1b[K" << std::flush;
  line_open_ = false;
}

void ProgressReporter::stage(const std::string& text) {
  if (style_ == ProgressStyle::kNone) return;
  finish();
  out_ << text << std::endl;
}

void ProgressReporter::layer(const PassProgress& progress) {
  update(progress_text(progress), progress.layers_done <= 1,
         progress.layers_done == progress.layers);
}

void ProgressReporter::update(const std::string& text, bool first, bool last) {
  if (style_ == ProgressStyle::kNone) return;
  if (style_ == ProgressStyle::kTerminal) {
    finish();
    out_ << text << std::flush;
    line_open_ = true;
    return;
  }
  const auto now = std::chrono::steady_clock::now();
  if (!last && !first && now - last_line_ < kBetweenLines) return;
  last_line_ = now;
  out_ << text << std::endl;
}

}  // namespace kvcalib
