// SPDX-License-Identifier: Apache-2.0
#include "kernels/row_loops_of_set.h"

namespace kvcalib::kernels::cpu {

extern const RowLoops kBaselineRows;
constinit const RowLoops kBaselineRows = make_row_loops();

}  // namespace kvcalib::kernels::cpu
