// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <vector>

#include "calibrate/service/memory_holder.h"

namespace kvcalib {

// A GPU in figures: cudaMalloc rounds up to 2 MiB, which small pieces share; the pool grows by 32.
class FakeHolder : public MemoryHolder {
 public:
  static constexpr uint64_t kPage = uint64_t{2} << 20U, kStep = uint64_t{32} << 20U;

  CardMemory card{uint64_t{1} << 30U, uint64_t{80} << 30U};
  std::optional<uint64_t> context = uint64_t{1} << 29U;
  std::function<void(CardMemory&)> others = [](CardMemory&) {};  // what they do at each release
  std::vector<ServingAllocation> held;                           // piece by piece

  std::string name() const override { return "Fake GPU"; }
  std::optional<uint64_t> context_bytes() const override { return context; }
  CardMemory memory() override {
    return {card.used_bytes + alone_ + rounded(small_, kPage) + rounded(pooled_, kStep),
            card.total_bytes};
  }
  bool hold(uint64_t bytes, Taking taking) override {
    const bool small = bytes < kPage / 2;
    uint64_t& sum = taking == Taking::kPooled ? pooled_ : small ? small_ : alone_;
    const uint64_t more = &sum == &alone_ ? rounded(bytes, kPage) : bytes;
    sum += more;
    if (memory().used_bytes > card.total_bytes) {
      sum -= more;
      return false;
    }
    held.push_back({ServingPart::kWeights, taking, bytes, 1});
    return true;
  }
  void release() override {
    alone_ = small_ = pooled_ = 0;
    others(card);
  }

 private:
  static uint64_t rounded(uint64_t bytes, uint64_t unit) {
    return (bytes + unit - 1) / unit * unit;
  }

  uint64_t alone_ = 0, small_ = 0, pooled_ = 0;
};

}  // namespace kvcalib
