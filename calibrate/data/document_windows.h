// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "calibrate/data/documents.h"
#include "calibrate/data/window_request.h"

namespace kvcalib {

// Windows [samples, length] of documents, the two ways that draw_windows describes.  Throw Error
// when there is too little, saying what would do, and for ids outside [0, vocab).
std::vector<int32_t> draw_long_documents(Documents& documents, const WindowRequest& request,
                                         int64_t vocab);
std::vector<int32_t> pack_documents(Documents& documents, const WindowRequest& request,
                                    int64_t vocab);

}  // namespace kvcalib
