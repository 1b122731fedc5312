// SPDX-License-Identifier: Apache-2.0
#include "sharding/streaming/zero_weights.h"

#include <gtest/gtest.h>

#include "sharding/streaming/image_reader.h"
#include "tests/message_of.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib {
namespace {

constexpr uint64_t kBytes = 400'000;
constexpr const char* kNothing = "nothing was thrown";

// One tensor in the middle of a file whose other bytes are zeros.
class ZeroWeights : public testing::Test {
 protected:
  // The tensor's last `zeros` bytes are zeros.
  void store(uint64_t zeros) {
    std::string text(kBytes + 200, '\0');
    std::fill_n(text.begin() + 100, kBytes - zeros, '\1');
    fixture::write_file(tensor_.file, text);
  }
  std::string refusal() const {
    return message_of([&] { refuse_zeros(tensor_); });
  }
  // Reads bytes [first, last) of the tensor as a rank does whose share they are.
  std::string refusal_of_share(LayerTensor tensor, uint64_t first, uint64_t last) const {
    LayerPlan plan{{tensor_}, {{tensor, 0, 0, 1, 1}}, kBytes};
    plan.blocks[0].image_offset = 0;
    std::vector<std::byte> image(kBytes);
    const PieceSink sink{[&](int64_t /*worker*/, const ImagePiece& piece) {
                           return std::span(image).subspan(piece.image_offset, piece.bytes);
                         },
                         {},
                         {}};
    return message_of([&] { read_image(cut_image(plan, first, last, 150'000), 2, sink); });
  }

  const fixture::TemporaryFolder folder_;
  FileRange tensor_{folder_.path() / "model", 100, kBytes, 0, ElementType::kFloat16, "down_proj"};
};

TEST_F(ZeroWeights, NameATensorOfZeros) {
  store(kBytes);
  EXPECT_HOLDS("model: tensor 'down_proj': holds only zeros (400000 bytes)", refusal());
  EXPECT_HOLDS("copy or deploy the model again", refusal());
}

TEST_F(ZeroWeights, NameATensorThatWasCutOffInItsFirstHalf) {
  store(kBytes - 4);
  EXPECT_HOLDS("holds only zeros in the last 399996 of its 400000 bytes", refusal());
  store(kBytes / 2);
  EXPECT_HOLDS("holds only zeros in the last 200000 of its 400000 bytes", refusal());
}

TEST_F(ZeroWeights, AreNoFaultAsPaddingOrPrunedRows) {
  for (const uint64_t zeros : {uint64_t{0}, uint64_t{2}, uint64_t{70'000}, kBytes / 2 - 1}) {
    store(zeros);
    EXPECT_HOLDS(kNothing, refusal()) << zeros;
  }
}

TEST_F(ZeroWeights, AreFoundInWhicheverShareTheTensorEnds) {
  store(kBytes);
  for (const uint64_t cut : {uint64_t{2}, uint64_t{100'000}, kBytes - 2}) {
    EXPECT_HOLDS(kNothing, refusal_of_share(LayerTensor::kDown, 0, cut)) << cut;
    EXPECT_HOLDS("holds only zeros", refusal_of_share(LayerTensor::kDown, cut, kBytes));
  }
  EXPECT_HOLDS("holds only zeros", refusal_of_share(LayerTensor::kFfnNorm, 0, kBytes));
}

TEST_F(ZeroWeights, AreNoFaultInABias) {
  store(kBytes);
  EXPECT_HOLDS(kNothing, refusal_of_share(LayerTensor::kQkvBias, 0, kBytes));
  EXPECT_HOLDS(kNothing, refusal_of_share(LayerTensor::kOutputBias, 0, kBytes));
}

TEST_F(ZeroWeights, NameAnEmbeddingOfZeros) {
  ModelConfig config;
  config.hidden = 1000;
  const EmbeddingTable table{tensor_.file, 100, 200, ElementType::kFloat16};
  store(10'000);  // rows of no token
  EXPECT_HOLDS(kNothing, message_of([&] { refuse_zeros(table, config); }));
  store(kBytes);
  EXPECT_HOLDS("model: holds only zeros (400000 bytes)",
               message_of([&] { refuse_zeros(table, config); }));
}

}  // namespace
}  // namespace kvcalib
