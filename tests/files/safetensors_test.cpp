// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/safetensors.h"

#include <gtest/gtest.h>

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

TEST(Safetensors, RefusesAHeaderThatIsCutOrNoJson) {
  EXPECT_HOLDS("f.safetensors: has 3 bytes, too short",
               message_of([] { Safetensors::parse("abc", "f.safetensors"); }));
  EXPECT_HOLDS("states a header of 1000 bytes, but only 2 follow", message_of([] {
                 Safetensors::parse(std::string("\xe8\x03\0\0\0\0\0\0{}", 10), "f.safetensors");
               }));
  EXPECT_HOLDS("states a header of 18446744073709551615 bytes", message_of([] {
                 Safetensors::parse(std::string(8, '\xff') + "{}", "f.safetensors");
               }));
  EXPECT_HOLDS("the header: is not JSON, at byte 6", refusal("{\"a\":", 0));
  EXPECT_HOLDS("the header is not a JSON object", refusal("[1]", 0));
}

TEST(Safetensors, RefusesAHeaderThatIsNestedTooDeep) {
  for (const char* before : {"{\"a\":", "{\"a\":{\"shape\":", "{\"__metadata__\":{\"a\":"})
    EXPECT_HOLDS("the header: holds arrays or objects more than 128 deep",
                 refusal(before + std::string(1'000'000, '['), 0));
}

TEST(Safetensors, RefusesATensorThatIsNotDescribedWhole) {
  EXPECT_HOLDS("f.safetensors: tensor 'a' is not described", refusal(R"({"a":3})", 0));
  EXPECT_HOLDS("is not described", refusal(R"({"a":{"dtype":"F32","shape":[1]}})", 4));
  EXPECT_HOLDS("is not described",
               refusal(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4));
  EXPECT_HOLDS("is not described",
               refusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4));
  EXPECT_HOLDS("'k' is not a string", refusal(R"({"__metadata__":{"k":1}})", 0));
  EXPECT_HOLDS("__metadata__ is not a JSON object", refusal(R"({"__metadata__":1})", 0));
}

TEST(Safetensors, TakesTypesThatItDoesNotKnowAsTheyLie) {
  const std::string header =
      R"({"a":{"dtype":"F6_E3M2","shape":[4],"data_offsets":[0,3]},)"
      R"("b":{"dtype":"F32","shape":[1],"data_offsets":[3,7]},"__metadata__":null})";
  const Safetensors file = Safetensors::parse(file_of(header, 7), "");
  EXPECT_EQ(file.tensors.at("a").dtype, "F6_E3M2");
  EXPECT_EQ(file.tensors.at("a").bytes, "xxx");
  EXPECT_TRUE(file.metadata.empty());
  EXPECT_HOLDS("tensor 'a' lies at bytes 0 to 8 of the data, which has 4",
               refusal(R"({"a":{"dtype":"F6_E3M2","shape":[4],"data_offsets":[0,8]}})", 4));
}

TEST(Safetensors, NamesATensorInOneShortLine) {
  const std::string name(100'000, 'x');
  EXPECT_LT(refusal("{\"" + name + "\":3}", 0).size(), 200U);
  EXPECT_HOLDS("tensor 'a?b' is not described", refusal(R"({"a\nb":3})", 0));
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

}  // namespace
}  // namespace kvcalib
