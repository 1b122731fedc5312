// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/character_rules.h"

#include <cstdint>
#include <cstring>
#include <vector>

#include "sharding/files/utf8.h"

namespace kvcalib {
namespace {

// A unit of the double array: a label, where its children are, whether a text may end here.
struct Unit {
  uint32_t bits;

  bool has_value() const { return (bits >> 8 & 1) != 0; }
  uint32_t value() const { return bits & 0x7fffffff; }
  uint32_t label() const { return bits & 0x800000ff; }
  uint32_t offset() const { return (bits >> 10) << ((bits & 0x200) >> 6); }
};

// Walks all that can be reached.
class Trie {
 public:
  Trie(std::string_view bytes, uint64_t values) : units_(bytes.size() / 4), values_(values) {
    std::memcpy(units_.data(), bytes.data(), units_.size() * 4);
  }

  bool is_sound() const {
    if (units_.empty()) return false;
    std::vector<bool> seen(units_.size());
    std::vector<uint32_t> open{0};
    while (!open.empty()) {
      const uint32_t place = open.back();
      open.pop_back();
      const Unit unit = units_[place];
      const uint32_t children = place ^ unit.offset();
      // Any byte may be looked for among them.
      if ((uint64_t{children} | 0xff) >= units_.size()) return false;
      if (place != 0 && unit.has_value() && units_[children].value() >= values_) return false;
      for (uint32_t byte = 0; byte < 256; ++byte) {
        const uint32_t child = children ^ byte;
        if (units_[child].label() != byte || seen[child]) continue;
        seen[child] = true;
        open.push_back(child);
      }
    }
    return true;
  }

 private:
  std::vector<Unit> units_;
  uint64_t values_;
};

}  // namespace

bool are_character_rules(std::string_view charsmap) {
  uint32_t trie_bytes = 0;
  if (charsmap.size() < sizeof(trie_bytes)) return false;
  std::memcpy(&trie_bytes, charsmap.data(), sizeof(trie_bytes));
  charsmap.remove_prefix(sizeof(trie_bytes));
  if (trie_bytes % 4 != 0 || trie_bytes >= charsmap.size()) return false;
  const std::string_view replacements = charsmap.substr(trie_bytes);
  return replacements.back() == '\0' && first_invalid_utf8(replacements) == replacements.size() &&
         Trie(charsmap.substr(0, trie_bytes), replacements.size()).is_sound();
}

}  // namespace kvcalib
