// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/text_in_order.h"

#include <gtest/gtest.h>

#include <numeric>

#include "calibrate/data/tokenizer.h"
#include "tests/data/data_fixture.h"

namespace kvcalib {
namespace {

using namespace fixture;
using std::filesystem::path;
using Ids = std::vector<int32_t>;

constexpr int64_t kVocab = 2048;

Ids counting(int32_t first, int32_t count) {
  Ids ids(count);
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

Ids joined(const TextInOrder& text) {
  Ids ids;
  for (const Ids& window : text.windows) ids.insert(ids.end(), window.begin(), window.end());
  return ids;
}

class TextInOrderTest : public testing::Test {
 protected:
  path save(const std::string& name, std::string_view bytes) {
    return write(folder_.path() / name, bytes);
  }
  static TextInOrder read(const std::vector<path>& files, int64_t length,
                          std::optional<int64_t> most_windows = {}, int64_t vocab = kVocab) {
    return read_text_in_order(files, tiny_tokenizer(), {length, most_windows}, vocab);
  }
  static std::string refusal(const std::vector<path>& files, int64_t length,
                             std::optional<int64_t> most_windows = {}, int64_t vocab = kVocab) {
    return message_of([&] { read(files, length, most_windows, vocab); });
  }

  TemporaryFolder folder_;
};

TEST_F(TextInOrderTest, LaysAllDocumentsEndToEnd) {
  const std::vector<std::string> texts{prose(1, 300), "", "one", prose(2, 700)};
  const path first = save("b.jsonl", json_line(texts[0]) + json_line(texts[1]));
  const path second = save("a.jsonl.gz", gzip(json_line(texts[2])));
  const path third = save("c.txt", texts[3]);
  const Tokenizer tokenizer(tiny_tokenizer());
  Ids expected;
  for (const std::string& text : texts) {
    const Ids ids = tokenizer.encode(text);
    expected.insert(expected.end(), ids.begin(), ids.end());
  }
  const auto tokens = static_cast<int64_t>(expected.size());
  for (const int64_t length : {int64_t{2}, int64_t{7}, int64_t{64}, tokens, tokens + 1}) {
    const TextInOrder text = read({first, second, third}, length);
    const int64_t rest = tokens % length;
    const int64_t kept = rest == 1 ? tokens - 1 : tokens;
    EXPECT_EQ(joined(text), Ids(expected.begin(), expected.begin() + kept)) << length;
    for (size_t i = 0; i + 1 < text.windows.size(); ++i)
      EXPECT_EQ(static_cast<int64_t>(text.windows[i].size()), length);
    EXPECT_EQ(text.documents, 4);
    ASSERT_EQ(text.files.size(), 3u);
    EXPECT_EQ(text.files[1].path, second);
  }
}

TEST_F(TextInOrderTest, CutsNoMoreDocumentsThanItTakes) {
  const path file = save(
      "a.jsonl", json_line(prose(1, 400)) + json_line(prose(2, 400)) + json_line(prose(3, 400)));
  const TextInOrder all = read({file}, 50);
  ASSERT_GT(all.windows.size(), 6u);
  for (size_t count = 1; count <= all.windows.size() + 2; ++count) {
    const TextInOrder text = read({file}, 50, static_cast<int64_t>(count));
    const size_t expected = std::min(count, all.windows.size());
    ASSERT_EQ(text.windows.size(), expected);
    for (size_t i = 0; i < expected; ++i) EXPECT_EQ(text.windows[i], all.windows[i]);
  }
  EXPECT_EQ(read({file}, 50, 1).documents, 1);
  EXPECT_EQ(all.documents, 3);
}

TEST_F(TextInOrderTest, TakesStreamsOfIdsEndToEnd) {
  const path first = save("b.npy", npy_ids("5,", counting(10, 5)));
  const path second = save("a.npy", npy_ids("4,", counting(20, 4)));
  const TextInOrder text = read({first, second}, 4);
  EXPECT_EQ(text.windows, (std::vector<Ids>{{10, 11, 12, 13}, {14, 20, 21, 22}}));
  EXPECT_EQ(read({first, second}, 7).windows.back(), (Ids{22, 23}));
  EXPECT_EQ(read({first, second}, 4, 1).windows, (std::vector<Ids>{{10, 11, 12, 13}}));
  EXPECT_EQ(text.files.size(), 2u);
}

TEST_F(TextInOrderTest, TakesRowsAsWindows) {
  const path first = save("b.npy", npy_ids("2, 4", counting(0, 8)));
  const path second = save("a.npy", npy_ids("3, 2", counting(10, 6)));
  const std::vector<Ids> rows{{0, 1, 2, 3}, {4, 5, 6, 7}, {10, 11}, {12, 13}, {14, 15}};
  EXPECT_EQ(read({first, second}, 100).windows, rows);
  EXPECT_EQ(read({first, second}, 4, 3).windows, std::vector<Ids>(rows.begin(), rows.begin() + 3));
  EXPECT_HOLDS("b.npy: its windows have 4 tokens, expected 2 to 3; use --length 4",
               refusal({first}, 3));
  EXPECT_HOLDS("c.npy: its windows have 1 tokens, expected 2 to 3",
               refusal({save("c.npy", npy_ids("4, 1", counting(0, 4)))}, 3));
}

TEST_F(TextInOrderTest, RefusesIdsOutsideTheVocabulary) {
  const path stream = save("a.npy", npy_ids("6,", Ids{1, 2, 3, 4, 5, 9}));
  EXPECT_HOLDS("a.npy: position 5 holds id 9", refusal({stream}, 4, {}, 9));
  EXPECT_EQ(read({stream}, 4, 1, 9).windows.size(), 1u);
  EXPECT_HOLDS("a.txt: token ", refusal({save("a.txt", "text")}, 4, {}, 5));
}

TEST_F(TextInOrderTest, RefusesWhatHoldsNoWindow) {
  EXPECT_HOLDS("a.txt: holds 1 tokens; expected 2 or more", refusal({save("a.txt", "")}, 4));
  EXPECT_HOLDS("a.npy: holds 1 tokens; expected 2 or more",
               refusal({save("a.npy", npy_ids("1,", Ids{1}))}, 4));
  EXPECT_HOLDS("b.npy: holds no windows", refusal({save("b.npy", npy_ids("0, 4", Ids{}))}, 4));
}

TEST_F(TextInOrderTest, RefusesSenselessRequests) {
  const path text = save("a.txt", "some text");
  EXPECT_HOLDS("--length 1: expected 2 to", refusal({text}, 1));
  EXPECT_HOLDS("--limit 0: expected 1 or more", refusal({text}, 4, 0));
  EXPECT_HOLDS("--data: no files are named", refusal({}, 4));
  EXPECT_HOLDS("a.npy holds token ids, other files text",
               refusal({text, save("a.npy", npy_ids("4,", counting(0, 4)))}, 4));
  EXPECT_HOLDS("a.txt: is text, which needs a tokenizer; name the model's with --tokenizer",
               message_of([&] { read_text_in_order({text}, {}, {}, kVocab); }));
}

TEST_F(TextInOrderTest, TakesAllOfTheHeldOutProse) {
  const path model = shared() / "data/models/llama-96m/tokenizer.model";
  const path held_out = shared() / "data/text/prose_valid.jsonl";
  if (!std::filesystem::exists(model) || !std::filesystem::exists(held_out))
    GTEST_SKIP() << model << " or " << held_out << " is absent";
  const TextInOrder text = read_text_in_order({held_out}, model, {2048, {}}, 12288);
  EXPECT_EQ(joined(text).size(), 519658u);
  EXPECT_EQ(text.windows.size(), 254u);
  EXPECT_EQ(text.windows.back().size(), 519658u % 2048);
}

}  // namespace
}  // namespace kvcalib
