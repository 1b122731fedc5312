// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace kvcalib {

// Something the user can mend.  The text reads "thing: what was found; what to do".  Exit code 1.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The command line itself is wrong.  Exit code 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

// The arguments written one after the other.
template <typename... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

}  // namespace kvcalib
