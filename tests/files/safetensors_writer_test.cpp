// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/safetensors_writer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/message_of.h"
#include "tests/safetensors_bytes.h"

namespace kvcalib {
namespace {

Safetensors example() {
  Safetensors file;
  file.metadata = {{"format", "example"}, {"quote", "\"\n"}};
  file.tensors["b"] = {"F32", {2, 1}, std::string("\0\0\x80\x3f\0\0\0\x40", 8)};
  file.tensors["a"] = {"BF16", {3}, "abcdef"};
  file.tensors["empty"] = {"F32", {0, 4}, ""};
  file.tensors["scalar"] = {"I64", {}, "12345678"};
  return file;
}

TEST(SafetensorsWriter, WritesKnownBytes) {
  Safetensors file;
  file.tensors["x"] = {"U8", {2}, "\x01\x02"};
  const std::string header = R"({"x":{"data_offsets":[0,2],"dtype":"U8","shape":[2]}})";
  ASSERT_EQ(header.size(), 53u);
  EXPECT_EQ(safetensors_bytes(file),
            std::string("\x38\0\0\0\0\0\0\0", 8) + header + std::string(3, ' ') + "\x01\x02");
}

TEST(SafetensorsWriter, WritesWhatIsReadBack) {
  const Safetensors file = example();
  const Safetensors back = Safetensors::parse(safetensors_bytes(file), "f.safetensors");
  EXPECT_EQ(back.metadata, file.metadata);
  ASSERT_EQ(back.tensors.size(), 4u);
  for (const auto& [name, tensor] : file.tensors) {
    EXPECT_EQ(back.tensors.at(name).dtype, tensor.dtype);
    EXPECT_EQ(back.tensors.at(name).shape, tensor.shape);
    EXPECT_EQ(back.tensors.at(name).bytes, tensor.bytes);
  }
}

TEST(SafetensorsWriter, DoesNotCareInWhichPiecesTheBytesCome) {
  for (const size_t piece : {1, 2, 5, 8})
    EXPECT_EQ(safetensors_bytes(example(), piece), safetensors_bytes(example())) << piece;
}

TEST(SafetensorsWriter, RefusesATensorThatIsNotItsShape) {
  Safetensors file = example();
  for (const char* bytes : {"abc", "abcde", "abcdefg"}) {
    file.tensors["a"].bytes = bytes;
    EXPECT_HOLDS(concat("tensor 'a' has ", std::string(bytes).size(), " bytes, its shape needs 6"),
                 message_of([&] { safetensors_bytes(file); }));
  }
  file = example();
  file.tensors["scalar"].bytes.pop_back();  // the last one
  EXPECT_HOLDS("tensor 'scalar' has 7 bytes, its shape needs 8",
               message_of([&] { safetensors_bytes(file); }));
}

TEST(SafetensorsWriter, RefusesAnEndBeforeTheLastTensor) {
  TextSink sink;
  SafetensorsWriter writer(sink, header_of(example()));
  writer.append("a", "abcdef");
  EXPECT_HOLDS("tensor 'b' has 0 bytes, its shape needs 8", message_of([&] { writer.finish(); }));
}

TEST(SafetensorsWriter, RefusesATypeThatItDoesNotKnow) {
  TextSink sink;
  SafetensorsHeader header;
  header.tensors["x"] = {"F31", {1}};
  EXPECT_HOLDS("tensor 'x' has dtype 'F31'", message_of([&] { SafetensorsWriter(sink, header); }));
  EXPECT_EQ(sink.text, "");
}

TEST(SafetensorsWriter, TakesTensorsInTheOrderOfTheirNamesOnly) {
  TextSink sink;
  SafetensorsWriter writer(sink, header_of(example()));
  writer.append("a", "abcdef");
  writer.append("b", "12345678");
  EXPECT_THROW(writer.append("a", "x"), std::logic_error);
  EXPECT_THROW(writer.append("nobody", "x"), std::logic_error);
}

TEST(SafetensorsWriter, IsReadByTheReferenceImplementation) {
  const char* const interpreter = std::getenv("KVCALIB_PYTHON");
  const std::string python = interpreter != nullptr ? interpreter : "python3";
  if (std::system((python + " -c 'import safetensors, numpy' 2>/dev/null").c_str()) != 0)
    GTEST_SKIP() << python << " has no safetensors";
  const std::string path = testing::TempDir() + concat("kvcalib_writer_test.", getpid());
  Safetensors file = example();
  file.tensors.erase("a");  // numpy has no bfloat16
  std::ofstream(path, std::ios::binary) << safetensors_bytes(file);
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
