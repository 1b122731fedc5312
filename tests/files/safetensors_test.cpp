// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/safetensors.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/message_of.h"

namespace kvcalib {
namespace {

// A file with this header, whatever it says, and `data_bytes` bytes of data.
std::string file_of(const std::string& header, size_t data_bytes) {
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(header.size() >> (8 * i));
  return bytes + header + std::string(data_bytes, 'x');
}

std::string refusal(const std::string& header, size_t data_bytes) {
  return message_of([&] { Safetensors::parse(file_of(header, data_bytes), "f.safetensors"); });
}

Safetensors example() {
  Safetensors file;
  file.metadata = {{"format", "example"}, {"quote", "\"\n"}};
  file.tensors["b"] = {"F32", {2, 1}, std::string("\0\0\x80\x3f\0\0\0\x40", 8)};
  file.tensors["a"] = {"BF16", {3}, "abcdef"};
  file.tensors["empty"] = {"F32", {0, 4}, ""};
  file.tensors["scalar"] = {"I64", {}, "12345678"};
  return file;
}

TEST(Safetensors, ReadsBackWhatItWrote) {
  const Safetensors file = example();
  const Safetensors back = Safetensors::parse(file.to_bytes(), "f.safetensors");
  EXPECT_EQ(back.metadata, file.metadata);
  ASSERT_EQ(back.tensors.size(), 4u);
  for (const auto& [name, tensor] : file.tensors) {
    EXPECT_EQ(back.tensors.at(name).dtype, tensor.dtype);
    EXPECT_EQ(back.tensors.at(name).shape, tensor.shape);
    EXPECT_EQ(back.tensors.at(name).bytes, tensor.bytes);
  }
}

TEST(Safetensors, WritesKnownBytes) {
  Safetensors file;
  file.tensors["x"] = {"U8", {2}, "\x01\x02"};
  const std::string header = R"({"x":{"data_offsets":[0,2],"dtype":"U8","shape":[2]}})";
  ASSERT_EQ(header.size(), 53u);
  EXPECT_EQ(file.to_bytes(),
            std::string("\x38\0\0\0\0\0\0\0", 8) + header + std::string(3, ' ') + "\x01\x02");
}

TEST(Safetensors, RefusesToWriteATensorThatIsNotItsShape) {
  Safetensors file;
  file.tensors["x"] = {"F32", {2}, "abc"};
  EXPECT_HOLDS("tensor 'x' has 3 bytes, its shape needs 8", message_of([&] { file.to_bytes(); }));
}

TEST(Safetensors, RefusesAHeaderThatIsCutOrNoJson) {
  EXPECT_HOLDS("f.safetensors: has 3 bytes, too short",
               message_of([] { Safetensors::parse("abc", "f.safetensors"); }));
  EXPECT_HOLDS("states a header of 1000 bytes, but only 2 follow", message_of([] {
                 Safetensors::parse(std::string("\xe8\x03\0\0\0\0\0\0{}", 10), "f.safetensors");
               }));
  EXPECT_HOLDS("states a header of 18446744073709551615 bytes", message_of([] {
                 Safetensors::parse(std::string(8, '\xff') + "{}", "f.safetensors");
               }));
  EXPECT_HOLDS("the header is not a JSON object", refusal("{\"a\":", 0));
  EXPECT_HOLDS("the header is not a JSON object", refusal("[1]", 0));
}

TEST(Safetensors, RefusesATensorThatIsNotDescribedWhole) {
  EXPECT_HOLDS("f.safetensors: tensor 'a' is not described", refusal(R"({"a":3})", 0));
  EXPECT_HOLDS("is not described", refusal(R"({"a":{"dtype":"F32","shape":[1]}})", 4));
  EXPECT_HOLDS("is not described",
               refusal(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4));
  EXPECT_HOLDS("is not described",
               refusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4));
  EXPECT_HOLDS("has dtype 'F31'",
               refusal(R"({"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}})", 4));
  EXPECT_HOLDS("'k' is not a string", refusal(R"({"__metadata__":{"k":1}})", 0));
  EXPECT_HOLDS("__metadata__ is not a JSON object", refusal(R"({"__metadata__":1})", 0));
}

TEST(Safetensors, RefusesRangesThatAreNotTheFiles) {
  EXPECT_HOLDS("tensor 'a' lies at bytes 0 to 8 of the data, which has 4",
               refusal(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4));
  EXPECT_HOLDS("tensor 'a' lies at bytes 4 to 0",
               refusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4));
  EXPECT_HOLDS("tensor 'a' has 4 bytes, its shape needs 8",
               refusal(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4));
  EXPECT_HOLDS(
      "which no file can hold",
      refusal(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}})", 4));
}

TEST(Safetensors, RefusesRangesThatOverlapOrLeaveBytes) {
  const std::string a = R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  EXPECT_HOLDS("tensor 'b' begins at byte 0, inside another tensor; expected 4",
               refusal("{" + a + R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4));
  EXPECT_HOLDS("tensor 'b' begins at byte 8, behind unclaimed bytes; expected 4",
               refusal("{" + a + R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})", 12));
  EXPECT_HOLDS("the tensors end at byte 4 of the data, which has 5", refusal("{" + a + "}", 5));
}

TEST(Safetensors, NamesAFileThatCannotBeRead) {
  EXPECT_HOLDS("/nonexistent/x: cannot be read: No such file",
               message_of([] { Safetensors::read("/nonexistent/x"); }));
}

TEST(Safetensors, IsReadByTheReferenceImplementation) {
  const std::filesystem::path root = std::filesystem::path(__FILE__) / "../../..";
  const std::string python = (root.lexically_normal() / ".venv/bin/python").string();
  if (std::system((python + " -c 'import safetensors, numpy' 2>/dev/null").c_str()) != 0) {
    GTEST_SKIP() << python << " with safetensors is absent";
  }
  const std::string path = testing::TempDir() + "kvcalib_safetensors_test.safetensors";
  Safetensors file = example();
  file.tensors.erase("a");  // numpy has no bfloat16
  std::ofstream(path, std::ios::binary) << file.to_bytes();
  const std::string program = python +
                              " -c \"import sys; from safetensors.numpy import load_file; t = "
                              "load_file(sys.argv[1]); sys.exit(t['b'].tolist() != [[1.0], [2.0]] "
                              "or t['empty'].shape != (0, 4))\" " +
                              path;
  EXPECT_EQ(std::system(program.c_str()), 0);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace kvcalib
