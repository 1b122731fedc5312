// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/figures.h"

#include <cmath>
#include <iomanip>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr const char* kUnknownText = "-";

std::string with_error(const std::string& value, const std::string& error) {
  return value + " ± " + error;
}

}  // namespace

std::string significant(double value, int digits) {
  return std::isfinite(value) ? concat(std::setprecision(digits), value) : kUnknownText;
}

std::string decimals(double value, int count) {
  if (!std::isfinite(value)) return kUnknownText;
  return concat(std::fixed, std::setprecision(count), value);
}

std::string signed_decimals(double value, int count) {
  if (!std::isfinite(value)) return kUnknownText;
  return concat(std::fixed, std::setprecision(count), value == 0 ? std::noshowpos : std::showpos,
                value);
}

std::string significant(const Estimate& estimate, int digits) {
  return with_error(significant(estimate.value, digits), significant(estimate.error, 2));
}

std::string decimals(const Estimate& estimate, int count) {
  return with_error(decimals(estimate.value, count), decimals(estimate.error, count));
}

std::string signed_decimals(const Estimate& estimate, int count) {
  return with_error(signed_decimals(estimate.value, count), decimals(estimate.error, count));
}

}  // namespace kvcalib
