// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <utility>

namespace kvcalib {

// The generator of CPython's module `random` after random.seed(seed): MT19937 (Matsumoto and
// Nishimura 1998) seeded by init_by_array, with the integer methods of Lib/random.py (3.2 and
// later).  Equal seeds and calls give equal numbers.
class PythonRandom {
 public:
  explicit PythonRandom(uint64_t seed);

  // random.getrandbits(bits), 1 <= bits <= 64.
  uint64_t bits(int bits);
  // random.randint(first, last): both ends belong; first <= last.
  int64_t between(int64_t first, int64_t last);
  // random.shuffle(values).
  template <typename Value>
  void shuffle(std::span<Value> values) {
    for (size_t i = values.size(); i-- > 1;) std::swap(values[i], values[below(i + 1)]);
  }

 private:
  static constexpr size_t kWords = 624;

  void seed_with(std::span<const uint32_t> key);
  void refill();
  uint32_t next();
  uint64_t below(uint64_t count);  // in [0, count), by rejection

  std::array<uint32_t, kWords> state_{};
  size_t used_ = kWords;
};

}  // namespace kvcalib
