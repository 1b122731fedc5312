// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "calibrate/evaluate/measured.h"

namespace kvcalib {

// Whether what was lost is more than noise, and where: a sentence for each stream behind the first,
// and before them one when the control is not zero.
//
// More than noise is: in text and in copying, Student's test of the paired ln ratio over windows
// below 0.05 (of several distances after Holm's correction); in tasks, a sign test that is below
// 0.05 after Holm's correction over the rows.
std::vector<std::string> verdict(const Measured& measured);

// Whether no row's first stream is better, by two standard errors, than the best constant answer.
// Rows whose right answer is always at the same place do not count; false when no others are there.
bool are_at_chance(std::span<const TaskScore> tasks);

}  // namespace kvcalib
