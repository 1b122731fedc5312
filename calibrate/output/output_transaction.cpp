// SPDX-License-Identifier: Apache-2.0
#include "calibrate/output/output_transaction.h"

#include "sharding/files/error.h"

namespace kvcalib {

void run_after_commit(const std::function<void()>& rest,
                      const std::function<std::string()>& standing) {
  try {
    rest();
  } catch (const std::exception& failure) {
    throw Error(concat(failure.what(), "; ", standing()));
  }
}

}  // namespace kvcalib
