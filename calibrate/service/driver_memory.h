// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace kvcalib {

// What nobody holds of a GPU's memory, by NVML, the driver's management library, which takes no
// CUDA context.  `bus`: its PCI bus, as "0000:1b:00.0".  Nothing where there is no NVML, no such
// GPU, or no leave to ask.
std::optional<uint64_t> driver_free_bytes(const std::string& bus);

}  // namespace kvcalib
