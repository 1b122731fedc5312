// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace kvcalib {

// How the files of a set of results are named, so that what is written can replace an earlier set.
struct OutputNames {
  using Test = std::function<bool(std::string_view name)>;

  Test is_ours;            // a file of the set
  Test goes_with_the_set;  // one of those that an earlier set may have more of: they go with it
  Test tells_of_a_set;     // where such a name is, well-formed or not, there is a set already
  std::string set;         // what messages call those: "KV scale files"
  std::string backed_up;   // the file whose earlier state is kept as NAME.backup
};

}  // namespace kvcalib
