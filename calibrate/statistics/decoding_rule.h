// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace kvcalib {

// What a runtime does otherwise when it decodes, a token at a time, than with the tokens of a
// prompt: where its cache is int8.
struct DecodingRule {
  // The newest token is attended to as it is, before it goes through int8; else as it is read back.
  bool newest_is_exact = false;
  // Codes are rounded half away from zero; else half to even.
  bool rounds_half_away = false;

  bool operator==(const DecodingRule&) const = default;
};

}  // namespace kvcalib
