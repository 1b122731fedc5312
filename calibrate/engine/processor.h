// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Device.h>

#include <string>

namespace kvcalib {

// What decides a result's bits: those of CPUs with one instruction set are the same, and those of
// GPUs of one name.
std::string processor(const c10::Device& device);

}  // namespace kvcalib
