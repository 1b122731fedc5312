// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "calibrate/engine/tree_scores.h"
#include "calibrate/evaluate/estimate.h"

namespace kvcalib {

// Where llama.cpp's `perplexity --kl-divergence` looks at the distributions, in its order.
inline constexpr std::array kDivergencePercents = {100.0, 99.9, 99.0, 95.0, 90.0, 50.0,
                                                   10.0,  5.0,  1.0,  0.1,  0.0};
inline constexpr std::array kChangePercents = {100.0, 99.9, 99.0, 95.0, 90.0, 75.0, 50.0,
                                               25.0,  10.0, 5.0,  1.0,  0.1,  0.0};

// What one stream says of the tokens at positions first .. last of their windows.
struct PlaceMeasures {
  int64_t first = 0, last = 0;
  int64_t tokens = 0;
  // As in StreamMeasures.
  Estimate log_ratio, divergence, reverse_divergence, change, change_rms, same_top;
};

// One stream (q) against the first (b), by llama.cpp's names: errors are from windows, never from
// tokens, and paired.  Logarithms are natural; probabilities and shares in percent.  A stream that
// says the same as the first has exact zeros (and 1 as ratio, 100 as same top).
struct StreamMeasures {
  int64_t not_finite = 0;         // tokens of which the surprise or a divergence is no number
  Estimate surprise;              // mean of -ln p
  Estimate perplexity;            // exp of it
  double correlation = kUnknown;  // of both perplexities' logarithms over windows, percent
  Estimate log_ratio, ratio, difference;  // ln(PPL(q) / PPL(b)), PPL(q) / PPL(b), PPL(q) - PPL(b)
  Estimate divergence;                    // mean of KL(b || q)
  // That less the second stream's, of those behind it: which of two formats or calibrations is
  // better.
  Estimate divergence_excess;
  std::vector<double> divergence_at;  // kDivergencePercents
  Estimate reverse_divergence;        // mean of KL(q || b)
  Estimate change;                    // mean of p_q - p_b of the text's token
  std::vector<double> change_at;      // kChangePercents
  Estimate change_rms;                // sqrt of the mean of its square
  Estimate same_top;                  // how often both have the same most likely token
  // First 16 tokens of a window, then up to powers of two; those that hold tokens.
  std::vector<PlaceMeasures> places;
};

struct TextMeasures {
  int64_t windows = 0, tokens = 0;  // scored; windows without a scored token are none
  std::vector<StreamMeasures> streams;
};

// What fp16's and the other streams' probabilities of a text's tokens come to.  Keeps two numbers a
// token and stream for the percentiles; sums are in double, in the order of the tokens.
class DivergenceMeter {
 public:
  explicit DivergenceMeter(size_t streams);

  // One window: `start` is its first token's position (mostly 0), `scores` and `scored` are by
  // token.  Throws std::invalid_argument when they do not fit each other or the streams.
  void add(int64_t start, const TreeScores& scores, std::span<const uint8_t> scored);

  TextMeasures measures() const;

 private:
  // Of a window's tokens, or of those of a place.
  struct Sums {
    int64_t tokens = 0;
    double surprise = 0, divergence = 0, reverse_divergence = 0;
    double change = 0, squared_change = 0, same_top = 0;

    void add(const Sums& token);
  };
  struct Place {
    int64_t first = 0, last = 0;
    std::vector<std::vector<Sums>> windows;  // [streams][windows that have tokens there]
  };
  struct Stream {
    std::vector<Sums> windows;
    std::vector<double> divergences, changes;  // by token
    int64_t not_finite = 0;
  };

  static Sums sums_of(const TreeScores& scores, size_t stream, size_t token);
  Place& place_of(int64_t position);
  StreamMeasures measures(size_t stream) const;

  std::vector<Stream> streams_;
  std::vector<Place> places_;  // by position
};

}  // namespace kvcalib
