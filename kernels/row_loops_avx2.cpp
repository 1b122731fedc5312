// SPDX-License-Identifier: Apache-2.0
#include "kernels/row_loops_of_set.h"

namespace kvcalib::kernels::cpu {

extern const RowLoops kAvx2Rows;
constinit const RowLoops kAvx2Rows = make_row_loops();

}  // namespace kvcalib::kernels::cpu
