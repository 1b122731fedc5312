// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/npy_file.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <numeric>

#include "tests/data/data_fixture.h"

namespace kvcalib {
namespace {

using namespace fixture;

class NpyFileTest : public testing::Test {
 protected:
  std::filesystem::path save(std::string_view bytes) {
    return write(folder_.path() / "a.npy", bytes);
  }
  std::string refusal(std::string_view bytes) {
    return message_of([&] { NpyReader reader(save(bytes)); });
  }

  TemporaryFolder folder_;
};

const std::vector<int32_t> kSix{5, -1, 7, 2147483647, 9, 10};
const std::vector<int64_t> kSixWide{5, -1, 7, 2147483647, 9, 10};

TEST_F(NpyFileTest, ReadsEveryVersionAndWidth) {
  for (const char version : {'\1', '\2', '\3'}) {
    for (const std::string& bytes :
         {npy_ids("2, 3", kSix, version), npy_ids("2, 3", kSixWide, version)}) {
      const NpyReader reader(save(bytes));
      EXPECT_EQ(reader.dimensions(), 2);
      EXPECT_EQ(reader.rows(), 2);
      EXPECT_EQ(reader.columns(), 3);
      EXPECT_EQ(reader.read(0, 6), kSixWide);
      EXPECT_EQ(reader.read(2, 3), (std::vector<int64_t>{7, 2147483647, 9}));
      EXPECT_EQ(reader.position(4), "row 1, column 1");
    }
  }
}

TEST_F(NpyFileTest, ReadsOneDimension) {
  const NpyReader reader(save(npy_ids("6,", kSix)));
  EXPECT_EQ(reader.dimensions(), 1);
  EXPECT_EQ(reader.rows(), 1);
  EXPECT_EQ(reader.columns(), 6);
  EXPECT_EQ(reader.position(4), "position 4");
}

TEST_F(NpyFileTest, ReadsTheBytesThatNumpyWrites) {
  // numpy.save of numpy.array([[1, 2], [3, 400]], 'int32').
  const std::string bytes = std::string("\x93NUMPY\x01\0v\0", 10) +
                            "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 2), }" +
                            std::string(58, ' ') + "\n" +
                            std::string("\1\0\0\0\2\0\0\0\3\0\0\0\x90\1\0\0", 16);
  ASSERT_EQ(bytes.size(), 144u);
  const NpyReader reader(save(bytes));
  EXPECT_EQ(reader.rows(), 2);
  EXPECT_EQ(reader.columns(), 2);
  EXPECT_EQ(reader.read(0, 4), (std::vector<int64_t>{1, 2, 3, 400}));
}

TEST_F(NpyFileTest, TakesKeysInAnyOrderAndEitherQuote) {
  std::string bytes = npy_ids("2, 3", kSix);
  const std::string usual = "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }";
  std::string other = "{\"shape\":(2L, 3L),\"fortran_order\":False,\"descr\":\"<i4\"}";
  other.resize(usual.size(), ' ');
  bytes.replace(bytes.find(usual), usual.size(), other);
  EXPECT_EQ(NpyReader(save(bytes)).read(0, 6), kSixWide);
}

TEST_F(NpyFileTest, RefusesOtherTypesByName) {
  for (const char* type : {"<f4", "<u2", ">i4", "<i2", "|b1", "<u4"}) {
    EXPECT_HOLDS(concat("a.npy: has elements of type '", type, "'; expected int32"),
                 refusal(npy(type, "2, 3", std::string(24, '\0'))));
  }
  std::string structured = npy("XXXXXXXXXXXX", "6,", std::string(24, '\0'));
  structured.replace(structured.find("'XXXXXXXXXXXX'"), 14, "[('x', '<i4')]");
  EXPECT_HOLDS("a.npy: its header has no plain 'descr'", refusal(structured));
}

TEST_F(NpyFileTest, RefusesOtherOrdersAndShapes) {
  const std::string data(24, '\0');
  EXPECT_HOLDS("a.npy: is in Fortran order; use numpy.ascontiguousarray",
               refusal(npy("<i4", "2, 3", data, 1, "True")));
  EXPECT_HOLDS("a.npy: has 3 dimensions (1, 2, 3)", refusal(npy("<i4", "1, 2, 3", data)));
  EXPECT_HOLDS("a.npy: has 0 dimensions ()", refusal(npy("<i4", "", data)));
  EXPECT_HOLDS("a.npy: its header has no plain 'shape'", refusal(npy("<i4", "-2, 3", data)));
  EXPECT_HOLDS("impossible shape", refusal(npy("<i4", "999999999999999, 999999999999999", data)));
  EXPECT_HOLDS("impossible shape", refusal(npy("<i4", "9999999999999999999999, 3", data)));
}

TEST_F(NpyFileTest, RefusesASizeThatIsNotTheShapes) {
  const std::string whole = npy_ids("2, 3", kSix);
  EXPECT_HOLDS("a.npy: has 151 bytes, its shape needs 152; cut off or damaged",
               refusal(whole.substr(0, whole.size() - 1)));
  EXPECT_HOLDS("a.npy: has 153 bytes, its shape needs 152", refusal(whole + "x"));
}

TEST_F(NpyFileTest, RefusesAFileCutInItsHeader) {
  const std::string whole = npy_ids("2, 3", kSix);
  for (size_t length = 0; length < 6; ++length) {
    EXPECT_HOLDS("a.npy: is not a NumPy file", refusal(whole.substr(0, length)));
  }
  for (size_t length = 8; length < 128; ++length) {
    EXPECT_HOLDS("a.npy: is cut off in its header", refusal(whole.substr(0, length)));
  }
  EXPECT_HOLDS("is not a NumPy file", refusal("PK\x03\x04 an .npz file, renamed"));
  EXPECT_HOLDS("has version 9 of the NumPy format", refusal(npy("<i4", "2, 3", "", 9)));
  EXPECT_HOLDS("states a header of ", refusal(std::string("\x93NUMPY\x02\0\xff\xff\xff\x7f", 12)));
}

// On a stack of 64 KiB, where a header of the longest kind still takes no more than a short one.
TEST_F(NpyFileTest, ReadsALongHeaderOnASmallStack) {
  const auto with_header = [](std::string header) {
    header.resize(10000, ' ');
    return std::string("\x93NUMPY\x01\0\x10\x27", 10) + header + std::string(24, '\0');
  };
  std::string wide = "{'descr': '<i4', 'fortran_order': False, 'shape': (2";
  wide.resize(9000, ' ');
  save(with_header(wide + ", 3), }"));
  struct Reading {
    std::filesystem::path file;
    std::string message;
  } reading{folder_.path() / "a.npy", ""};
  const auto read = [](void* argument) -> void* {
    auto& [file, message] = *static_cast<Reading*>(argument);
    message = message_of([&file] { NpyReader reader(file); });
    return nullptr;
  };
  for (const auto& [header, expected] :
       {std::pair{wide + ", 3), }", "nothing was thrown"},
        {"{'shape': " + std::string(9000, '('), "has no plain 'descr'"},
        {"{" + std::string(9000, '{'), "has no plain 'descr'"},
        {"{'descr': '" + std::string(9000, '<') + "'}", "has elements of type '<<<"}}) {
    save(with_header(header));
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 65536);
    pthread_t thread{};
    ASSERT_EQ(pthread_create(&thread, &attributes, read, &reading), 0);
    pthread_join(thread, nullptr);
    pthread_attr_destroy(&attributes);
    EXPECT_HOLDS(expected, reading.message);
  }
}

}  // namespace
}  // namespace kvcalib
