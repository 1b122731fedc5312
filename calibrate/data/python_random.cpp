// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/python_random.h"

#include <algorithm>
#include <bit>

namespace kvcalib {

PythonRandom::PythonRandom(uint64_t seed) {
  const std::array<uint32_t, 2> key{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  seed_with(std::span(key).first(key[1] == 0 ? 1 : 2));
}

void PythonRandom::seed_with(std::span<const uint32_t> key) {
  state_[0] = 19650218;
  for (uint32_t i = 1; i < kWords; ++i) {
    state_[i] = 1812433253 * (state_[i - 1] ^ (state_[i - 1] >> 30)) + i;
  }
  size_t i = 1;
  const auto mixed = [&](uint32_t factor) {
    return state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * factor);
  };
  const auto advance = [&] {
    if (++i < kWords) return;
    state_[0] = state_[kWords - 1];
    i = 1;
  };
  for (size_t step = 0; step < std::max(kWords, key.size()); ++step) {
    const size_t j = step % key.size();
    state_[i] = mixed(1664525) + key[j] + static_cast<uint32_t>(j);
    advance();
  }
  for (size_t step = 0; step < kWords - 1; ++step) {
    state_[i] = mixed(1566083941) - static_cast<uint32_t>(i);
    advance();
  }
  state_[0] = 0x80000000;
}

void PythonRandom::refill() {
  constexpr size_t kShift = 397;
  for (size_t i = 0; i < kWords; ++i) {
    const uint32_t joined = (state_[i] & 0x80000000) | (state_[(i + 1) % kWords] & 0x7fffffff);
    state_[i] = state_[(i + kShift) % kWords] ^ (joined >> 1) ^ (joined % 2 == 0 ? 0 : 0x9908b0df);
  }
  used_ = 0;
}

uint32_t PythonRandom::next() {
  if (used_ == kWords) refill();
  uint32_t word = state_[used_++];
  word ^= word >> 11;
  word ^= (word << 7) & 0x9d2c5680;
  word ^= (word << 15) & 0xefc60000;
  return word ^ (word >> 18);
}

uint64_t PythonRandom::bits(int bits) {
  if (bits <= 32) return next() >> (32 - bits);
  const uint64_t low = next();
  return low | static_cast<uint64_t>(next() >> (64 - bits)) << 32;
}

uint64_t PythonRandom::below(uint64_t count) {
  const int width = static_cast<int>(std::bit_width(count));
  uint64_t drawn = bits(width);
  while (drawn >= count) drawn = bits(width);
  return drawn;
}

int64_t PythonRandom::between(int64_t first, int64_t last) {
  const uint64_t count = static_cast<uint64_t>(last) - static_cast<uint64_t>(first) + 1;
  return static_cast<int64_t>(static_cast<uint64_t>(first) + below(count));
}

}  // namespace kvcalib
