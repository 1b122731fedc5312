// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/devices.h"

#include <gtest/gtest.h>

#include "sharding/streaming/device.h"
#include "tests/message_of.h"

namespace kvcalib {
namespace {

TEST(ChooseDevices, GivesARankToEveryDeviceNamed) {
  EXPECT_EQ(choose_devices("cpu").text(), "cpu");
  EXPECT_EQ(choose_devices("cpu:3").text(), "3 CPU ranks");
  EXPECT_EQ(choose_devices("gpu:2", /*planned=*/true).text(), "cuda:0, cuda:1");
  EXPECT_EQ(choose_devices("4,0,2", /*planned=*/true).text(), "cuda:4, cuda:0, cuda:2");
}

TEST(ChooseDevices, RefusesWhatNamesNoDevices) {
  for (const char* text :
       {"tpu", "cpu:0", "cpu:65", "cpu:x", "gpu:", "gpu:-1", "0,", "0,,1", "-1", "1;2", "128"})
    EXPECT_THROW(choose_devices(text), UsageError) << text;
  EXPECT_HOLDS("names a GPU twice", message_of([] { choose_devices("0,1,0", true); }));
}

TEST(ChooseDevices, SaysWhichGpuIsNotThere) {
  if (!built_with_cuda()) GTEST_SKIP() << "sees none";
  EXPECT_HOLDS("there is no GPU 126, this machine shows",
               message_of([] { choose_devices("126"); }));
}

TEST(ChooseDevices, SaysThatTheProgramWasBuiltWithoutCuda) {
  if (built_with_cuda()) GTEST_SKIP() << "this program was built with CUDA";
  EXPECT_EQ(choose_devices("").text(), "cpu");
  for (const char* text : {"gpu", "gpu:2", "0"})
    EXPECT_HOLDS("this program was built without CUDA", message_of([&] { choose_devices(text); }));
}

TEST(DeviceOf, GivesAGpuToEachRankOfTheMachine) {
  const DeviceList two = choose_devices("3,1", /*planned=*/true);
  EXPECT_EQ(device_of(Rank{5, 1, 8, true}, two).str(), "cuda:1");
  EXPECT_THROW(device_of(Rank{2, 2, 4, true}, two), UsageError);
  EXPECT_EQ(device_of(Rank{7, 7, 8, true}, choose_devices("cpu")).str(), "cpu");
}

}  // namespace
}  // namespace kvcalib
