// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/sha256.h"

#include <gtest/gtest.h>

namespace kvcalib {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST(Sha256, GivesTheDigestsOfTheStandard) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_hex(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, DoesNotDependOnHowTheBytesArrive) {
  std::string message;
  for (int i = 0; i < 400; ++i) message += static_cast<char>(i * 37);
  const std::string whole = sha256_hex(message);
  for (const size_t piece : {1, 3, 55, 56, 63, 64, 65, 127, 128, 129}) {
    Sha256 digest;
    for (size_t i = 0; i < message.size(); i += piece) {
      digest.update(bytes_of(std::string_view(message).substr(i, piece)));
    }
    EXPECT_EQ(digest.hex(), whole) << "pieces of " << piece;
  }
}

TEST(Sha256, PadsMessagesOfEveryLengthWithinABlock) {
  // The digest of the 130 digests of 0 to 129 letters, from Python's hashlib.
  std::string digests;
  for (size_t length = 0; length < 130; ++length) digests += sha256_hex(std::string(length, 'k'));
  EXPECT_EQ(sha256_hex(digests),
            "9dae380796e6fe8aa47f630d6a2a0567a1ac26c1fc8a29f6004f6783f8901492");
}

}  // namespace
}  // namespace kvcalib
