// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace kvcalib {

// Whether SentencePiece can follow the rules by which a model rewrites characters
// (NormalizerSpec.precompiled_charsmap) for any text without leaving them: uint32 bytes of a trie,
// the trie (units of a double array, as Darts-clone stores them), replacements that end in NUL.
// The library looks at none of that.
bool are_character_rules(std::string_view charsmap);

}  // namespace kvcalib
