// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/fuzz_target.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>

#include "sharding/files/error.h"
#include "tests/fuzz/structured_mutation.h"

// libFuzzer's interface: https://llvm.org/docs/LibFuzzer.html
// NOLINTBEGIN(readability-identifier-naming)
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    kvcalib::fuzz({reinterpret_cast<const char*>(data), size});
  } catch (const kvcalib::Error& refusal) {
    kvcalib::require(std::strlen(refusal.what()) < 4096);  // nothing is echoed whole
  }
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned int seed) {
  std::mt19937 random(seed);
  if (random() % 2 == 0) return LLVMFuzzerMutate(data, size, max_size);
  const std::string mutated =
      kvcalib::mutate_structure({reinterpret_cast<const char*>(data), size}, random);
  const size_t kept = std::min(mutated.size(), max_size);
  std::memcpy(data, mutated.data(), kept);
  return kept;
}
// NOLINTEND(readability-identifier-naming)
