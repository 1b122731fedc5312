// SPDX-License-Identifier: Apache-2.0
#include "sharding/writing/table_rows.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "sharding/formats/turbomind_directory.h"
#include "tests/message_of.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib {
namespace {

using fixture::TemporaryFolder;

constexpr int64_t kHidden = 4;

// A table of float32 rows, behind eight bytes of something else.
EmbeddingTable write_table(const std::filesystem::path& file,
                           const std::vector<std::array<float, kHidden>>& rows) {
  std::string bytes(8, 'x');
  for (const auto& row : rows) bytes.append(reinterpret_cast<const char*>(row.data()), sizeof(row));
  fixture::write_file(file, bytes);
  return {file, 8, static_cast<int64_t>(rows.size()), ElementType::kFloat32};
}

std::vector<float> read(const EmbeddingTable& table, int64_t first, int64_t count) {
  std::vector<uint16_t> bits(static_cast<size_t>(count * kHidden));
  TableRows(table, kHidden, WeightType::kBFloat16).read(first, count, bits.data());
  std::vector<float> values;
  for (const uint16_t half : bits)  // bfloat16 is the upper half of float32
    values.push_back(std::bit_cast<float>(static_cast<uint32_t>(half) << 16));
  return values;
}

TEST(TableRows, AreThoseAskedForInSixteenBits) {
  const TemporaryFolder folder;
  const EmbeddingTable table = write_table(
      folder.path() / "table", {{1, 2, 3, 4}, {5, 6, 7, 8}, {0.5, -0.25, 0, 1.0F + 1e-4F}});
  EXPECT_EQ(read(table, 1, 2), (std::vector<float>{5, 6, 7, 8, 0.5, -0.25, 0, 1}));
  EXPECT_EQ(read(table, 3, 0), std::vector<float>{});
}

TEST(TableRows, HaveLengthOneWhereTheModelWantsIt) {
  const TemporaryFolder folder;
  EmbeddingTable table =
      write_table(folder.path() / "table", {{30, 0, 40, 0}, {-1e-3F, 1e-3F, 0, 0}, {0, 0, 0, 0}});
  table.normalise_rows = true;
  const std::vector<float> rows = read(table, 0, 3);
  for (const int64_t row : {0, 1}) {
    float squares = 0;
    for (int64_t i = 0; i < kHidden; ++i)
      squares += std::pow(rows[static_cast<size_t>(row * kHidden + i)], 2.0F);
    EXPECT_NEAR(squares, 1, 1e-2) << row;
  }
  EXPECT_NEAR(rows[0] / rows[2], 0.75, 1e-2);
  EXPECT_EQ(rows[11], 0);  // a row of zeros stays one
}

TEST(TableRows, AreRefusedWhereTheyAreDamaged) {
  const TemporaryFolder folder;
  const EmbeddingTable table = write_table(folder.path() / "table", {{1, 2, 3, INFINITY}});
  EXPECT_HOLDS("table: holds NaN or Inf", message_of([&] { read(table, 0, 1); }));
  EXPECT_HOLDS("table", message_of([&] { read(table, 1, 1); }));
}

// The rows of a model of 50 whose table is padded to 52 for 4 ranks; `edit` may change the file.
int64_t rows_of(const std::function<void(const std::filesystem::path&)>& edit) {
  const TemporaryFolder folder;
  ModelConfig model = fixture::small_model();
  model.stored_ranks = 4;
  fixture::write_weights(folder.path(), model);
  edit(folder.path());
  return rows_without_padding(TurboMindDirectory::open(folder.path()));
}

TEST(RowsWithoutPadding, AreTheVocabularyWhereOnlyZerosFollow) {
  EXPECT_EQ(rows_of([](const std::filesystem::path&) {}), 50);
}

TEST(RowsWithoutPadding, AreAllWhereEitherTableHasMore) {
  for (const char* name : {"tok_embeddings.weight", "output.weight"}) {
    const int64_t rows = rows_of([&](const std::filesystem::path& folder) {
      fixture::write_elements(folder / name, 52, 64, [](int64_t row, int64_t column) {
        return row == 51 && column == 63 ? uint16_t{1} : uint16_t{0};
      });
    });
    EXPECT_EQ(rows, 52) << name;
  }
}

}  // namespace
}  // namespace kvcalib
