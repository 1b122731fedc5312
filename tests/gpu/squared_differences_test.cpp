// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu/device_array.h"
#include "tests/kernels/differences_case.h"

namespace kvcalib::kernels {
namespace {

// Sums that lie two apart.
template <typename T>
std::vector<double> on_gpu(const DifferencesCase<T>& test, bool with_right, cudaStream_t stream,
                           int64_t offset = 0) {
  using Arguments = SquaredDifferencesArguments<T>;
  const auto groups = static_cast<size_t>(test.shape.groups);
  DeviceArray<T> left(test.left, offset), right(test.right, offset);
  DeviceArray<double> parts(std::vector<double>(Arguments::kParts * groups, -1.0));
  DeviceArray<double> sums(std::vector<double>(2 * groups, -1.0));
  std::vector<double> unused(groups);
  Arguments arguments = test.arguments(with_right, unused);
  arguments.left = left.data();
  if (with_right) arguments.right = right.data();
  arguments.parts = parts.data();
  arguments.sums = sums.data();
  arguments.sums_stride = 2;
  squared_differences(arguments, stream);
  std::vector<double> found;
  const std::vector<double> all = sums.to_host();
  for (size_t i = 0; i < all.size(); ++i) {
    if (i % 2 == 0)
      found.push_back(all[i]);
    else
      EXPECT_EQ(all[i], -1.0);
  }
  return found;
}

template <typename T>
class GpuSquaredDifferences : public GpuTest {};
TYPED_TEST_SUITE(GpuSquaredDifferences, DeviceElementTypes);

TYPED_TEST(GpuSquaredDifferences, AgreeWithSumsInDouble) {
  for (const DifferencesShape& shape : differences_shapes()) {
    const DifferencesCase<TypeParam> test(shape);
    for (const bool with_right : {true, false})
      for (const int64_t offset : {0, 1})
        expect_near(on_gpu(test, with_right, this->stream_, offset), test.expected(with_right));
  }
}

TYPED_TEST(GpuSquaredDifferences, Repeat) {
  const DifferencesCase<TypeParam> test({1024, 3, 128, 0});
  EXPECT_EQ(on_gpu(test, true, this->stream_), on_gpu(test, true, this->stream_));
}

}  // namespace
}  // namespace kvcalib::kernels
