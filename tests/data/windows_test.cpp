// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/windows.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <numeric>

#include "calibrate/data/python_random.h"
#include "calibrate/data/token_documents.h"
#include "calibrate/data/tokenizer.h"
#include "sharding/files/sha256.h"
#include "tests/data/data_fixture.h"

namespace kvcalib {
namespace {

using namespace fixture;
using std::filesystem::path;
using Ids = std::vector<int32_t>;

constexpr int64_t kVocab = 2048;

class Windows : public testing::Test {
 protected:
  path save(const std::string& name, std::string_view bytes) {
    return write(folder_.path() / name, bytes);
  }
  path save_texts(const std::string& name, const std::vector<std::string>& texts) {
    std::string lines;
    for (const std::string& text : texts) lines += json_line(text);
    return save(name, name.ends_with(".gz") ? gzip(lines) : lines);
  }
  static TokenWindows draw(const std::vector<path>& files, const WindowRequest& request,
                           int64_t vocab = kVocab) {
    return draw_windows(files, needs_tokenizer(files) ? tiny_tokenizer() : path(), request, vocab);
  }
  static std::string refusal(const std::vector<path>& files, const WindowRequest& request,
                             int64_t vocab = kVocab) {
    return message_of([&] { draw(files, request, vocab); });
  }

  // Texts as scripts/tokenize_text.py leaves them.
  path save_tokens(const std::string& name, const std::vector<std::string>& texts) {
    const Tokenizer tokenizer(tiny_tokenizer());
    Ids ids;
    std::vector<int64_t> offsets{0};
    for (const std::string& text : texts) {
      const Ids document = tokenizer.encode(text);
      ids.insert(ids.end(), document.begin(), document.end());
      offsets.push_back(static_cast<int64_t>(ids.size()));
    }
    save_offsets(name, offsets);
    return save(name + ".npy", npy_ids(concat(ids.size(), ','), ids));
  }
  void save_offsets(const std::string& name, const std::vector<int64_t>& offsets) {
    save(name + ".offsets.npy", npy_ids(concat(offsets.size(), ','), offsets));
  }

  TemporaryFolder folder_;
};

std::vector<std::string> texts_of(std::initializer_list<size_t> sizes) {
  std::vector<std::string> texts;
  for (const size_t bytes : sizes) texts.push_back(prose(texts.size(), bytes));
  return texts;
}

Ids counting(int32_t first, int32_t count) {
  Ids ids(count);
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

TEST_F(Windows, OfTextAreWhatGetC4Draws) {
  const std::vector<std::string> texts = texts_of({100, 1200, 0, 900, 40, 3000, 500});
  const TokenWindows windows = draw({save_texts("a.jsonl", texts)}, {20, 200, 7, false});

  // LMDeploy's loop, without any short cut.
  const Tokenizer tokenizer(tiny_tokenizer());
  PythonRandom random(7);
  Ids expected;
  for (int sample = 0; sample < 20; ++sample) {
    Ids ids;
    while (ids.size() < 200) ids = tokenizer.encode(texts[random.between(0, 6)]);
    const int64_t start = random.between(0, static_cast<int64_t>(ids.size()) - 200);
    expected.insert(expected.end(), ids.begin() + start, ids.begin() + start + 200);
  }
  EXPECT_EQ(windows.ids, expected);
  EXPECT_EQ(windows.samples, 20);
  EXPECT_EQ(windows.length, 200);
  EXPECT_EQ(windows.documents, 7);
}

TEST_F(Windows, DoNotDependOnTheFormOfTheFiles) {
  const std::vector<std::string> texts = texts_of({100, 1200, 90, 900, 40, 3000, 500});
  const std::vector<std::string> front(texts.begin(), texts.begin() + 3);
  const std::vector<std::string> back(texts.begin() + 3, texts.end());
  for (const bool pack : {false, true}) {
    const WindowRequest request{9, 150, 3, pack};
    const Ids expected = draw({save_texts("a.jsonl", texts)}, request).ids;
    EXPECT_EQ(draw({save_texts("a.json.gz", texts)}, request).ids, expected);
    const TokenWindows parts =
        draw({save_texts("front.jsonl.gz", front), save_texts("back.json", back)}, request);
    EXPECT_EQ(parts.ids, expected);
    EXPECT_EQ(parts.documents, 7);
  }
}

TEST_F(Windows, MayTakeAWholeDocument) {
  const std::string text = prose(1, 600);
  const Ids ids = Tokenizer(tiny_tokenizer()).encode(text);
  const auto length = static_cast<int64_t>(ids.size());
  EXPECT_EQ(draw({save("a.txt", text)}, {1, length, 0, false}).ids, ids);
  EXPECT_HOLDS("longest found has ", refusal({save("a.txt", text)}, {1, length + 1, 0, false}));
}

TEST_F(Windows, RecordTheFilesTheyComeFrom) {
  const path first = save_texts("b.jsonl", {prose(1, 2000)});
  const path second = save("a.txt", prose(2, 2000));
  const TokenWindows windows = draw({first, second}, {2, 100, 0, false});
  ASSERT_EQ(windows.files.size(), 2u);
  EXPECT_EQ(windows.files[0].path, first);
  EXPECT_EQ(windows.files[1].path, second);
  EXPECT_EQ(windows.files[1].sha256, sha256_hex(prose(2, 2000)));
  EXPECT_EQ(windows.files[1].bytes, 2000u);
}

TEST_F(Windows, FindTheOneLongDocumentAmongMany) {
  std::vector<std::string> texts;
  for (int i = 0; i < 3000; ++i) texts.push_back("short");
  texts[1234] = prose(5, 4000);
  const TokenWindows windows = draw({save_texts("a.jsonl", texts)}, {3, 800, 0, false});
  EXPECT_EQ(windows.ids.size(), 2400u);
}

TEST_F(Windows, RefuseDocumentsThatAreTooShort) {
  const std::vector<std::string> texts = texts_of({300, 2100, 20, 500});
  const size_t longest = Tokenizer(tiny_tokenizer()).encode(texts[1]).size();
  ASSERT_LT(longest, 2048u) << "long enough in bytes, not in tokens";
  const std::string message = refusal({save_texts("a.jsonl", texts)}, {});
  EXPECT_HOLDS("none of the 4 documents has 2048 tokens (--length)", message);
  EXPECT_HOLDS(
      concat("the longest found has ", longest, "; use --length ", longest, " or less, --pack"),
      message);
  // That none can be long enough is clear from the bytes.
  const size_t words = Tokenizer(tiny_tokenizer()).encode("The dog and I").size();
  EXPECT_HOLDS(concat("the longest found has ", words, ";"),
               refusal({save_texts("b.jsonl", {"a", "to", "The dog and I"})}, {}));
}

TEST_F(Windows, RefuseDocumentsWithoutTokens) {
  EXPECT_HOLDS("the longest found has 1;", refusal({save("a.txt", "")}, {}));
}

TEST_F(Windows, PackDocumentsInShuffledOrder) {
  const std::vector<std::string> texts = texts_of({30, 200, 0, 77, 150});
  const Tokenizer tokenizer(tiny_tokenizer());
  std::vector<int64_t> order(texts.size());
  std::iota(order.begin(), order.end(), 0);
  PythonRandom random(11);
  random.shuffle(std::span(order));
  Ids all;
  for (const int64_t i : order) {
    const Ids ids = tokenizer.encode(texts[i]);
    all.insert(all.end(), ids.begin(), ids.end());
  }
  const path file = save_texts("a.jsonl", texts);
  const auto tokens = static_cast<int64_t>(all.size());
  EXPECT_EQ(draw({file}, {tokens / 16, 16, 11, true}).ids,
            Ids(all.begin(), all.begin() + tokens / 16 * 16));
  EXPECT_EQ(draw({file}, {1, tokens, 11, true}).ids, all) << "to the last token";
  const std::string message = refusal({file}, {tokens, 16, 11, true});
  EXPECT_HOLDS(concat("the 5 documents hold ", tokens, " tokens, enough for ", tokens / 16,
                      " windows of 16, not for ", tokens, "; use fewer --samples"),
               message);
}

TEST_F(Windows, RefuseIdsOfAnotherModelsTokenizer) {
  const path file = save("a.jsonl", "\n" + json_line(prose(1, 800)));
  for (const bool pack : {false, true}) {
    const std::string message = refusal({file}, {1, 100, 0, pack}, 500);
    EXPECT_HOLDS("a.jsonl, line 2: token ", message);
    EXPECT_HOLDS("but the model's vocabulary has 500; is this the model's tokenizer?", message);
  }
  const Ids ids = draw({file}, {1, 100, 0, false}).ids;
  const int64_t enough = *std::max_element(ids.begin(), ids.end()) + 1;
  EXPECT_EQ(draw({file}, {1, 100, 0, false}, enough).ids, ids) << "only ids that occur matter";
}

TEST_F(Windows, AreTheFirstRowsOfTokenFiles) {
  const path first = save("a.npy", npy_ids("2, 4", counting(0, 8)));
  const path second =
      save("b.npy", npy_ids("3, 4", std::vector<int64_t>{9, 9, 9, 9, 8, 8, 8, 8, 7, 7, 7, 7}));
  const TokenWindows windows = draw({first, second}, {3, 4, 99, false});
  EXPECT_EQ(windows.ids, (Ids{0, 1, 2, 3, 4, 5, 6, 7, 9, 9, 9, 9}));
  EXPECT_EQ(windows.documents, 5);
  EXPECT_EQ(windows.files[1].sha256,
            sha256_hex(npy_ids("3, 4", std::vector<int64_t>{9, 9, 9, 9, 8, 8, 8, 8, 7, 7, 7, 7})));
}

TEST_F(Windows, OfAStreamStartAnywhere) {
  const path first = save("a.npy", npy_ids("70,", counting(0, 70)));
  const path second = save("b.npy", npy_ids("30,", counting(70, 30)));
  const TokenWindows windows = draw({first, second}, {50, 20, 4, false});
  PythonRandom random(4);
  Ids expected;
  for (int sample = 0; sample < 50; ++sample) {
    const Ids window = counting(static_cast<int32_t>(random.between(0, 80)), 20);
    expected.insert(expected.end(), window.begin(), window.end());
  }
  EXPECT_EQ(windows.ids, expected);
  EXPECT_EQ(windows.documents, 1);
  EXPECT_EQ(draw({first, second}, {1, 100, 0, false}).ids, counting(0, 100));
  EXPECT_HOLDS("a stream of 100 tokens, but --length is 101",
               refusal({first, second}, {1, 101, 0, false}));
}

TEST_F(Windows, OfIdsWithOffsetsAreThoseOfTheTextTheyWere) {
  const std::vector<std::string> texts = texts_of({100, 1200, 0, 90, 900, 40, 3000, 500});
  const std::vector<std::string> front(texts.begin(), texts.begin() + 3);
  const std::vector<std::string> back(texts.begin() + 3, texts.end());
  for (const bool pack : {false, true}) {
    const WindowRequest request{9, 150, 3, pack};
    const Ids expected = draw({save_texts("a.jsonl", texts)}, request).ids;
    const TokenWindows whole = draw({save_tokens("ids", texts)}, request);
    EXPECT_EQ(whole.ids, expected);
    EXPECT_EQ(whole.documents, 8);
    const TokenWindows parts =
        draw({save_tokens("front", front), save_tokens("back", back)}, request);
    EXPECT_EQ(parts.ids, expected);
    EXPECT_EQ(parts.documents, 8);
  }
}

TEST_F(Windows, OfIdsWithOffsetsRecordBothFiles) {
  const path ids = save_tokens("ids", {prose(1, 2000)});
  const TokenWindows windows = draw({ids}, {2, 100, 0, false});
  ASSERT_EQ(windows.files.size(), 2u);
  EXPECT_EQ(windows.files[0].path, ids);
  EXPECT_EQ(windows.files[1].path.filename(), "ids.offsets.npy");
  EXPECT_FALSE(stored_windows({ids}).has_value());
}

TEST_F(Windows, RefuseDocumentsOfIdsThatAreTooShort) {
  save_offsets("ids", {0, 10, 30, 30, 48});
  const path ids = save("ids.npy", npy_ids("48,", counting(0, 48)));
  EXPECT_HOLDS(
      "none of the 4 documents has 21 tokens (--length); the longest found has 20; use --length 20",
      refusal({ids}, {1, 21, 0, false}));
  EXPECT_EQ(draw({ids}, {1, 20, 0, false}).ids, counting(10, 20));
  EXPECT_HOLDS("the 4 documents hold 48 tokens, enough for 2 windows of 21",
               refusal({ids}, {3, 21, 0, true}));
  EXPECT_HOLDS("ids.npy: position 10 holds id 10, but the model's vocabulary has 10",
               refusal({ids}, {1, 20, 0, false}, 10));
}

TEST_F(Windows, RefuseOffsetsThatAreNotThoseOfTheIds) {
  const path ids = save("ids.npy", npy_ids("8,", counting(0, 8)));
  const auto refused = [&](const std::vector<int64_t>& offsets) {
    save_offsets("ids", offsets);
    return refusal({ids}, {1, 4, 0, false});
  };
  EXPECT_HOLDS("ids.offsets.npy: begins with 1, expected 0", refused({1, 8}));
  EXPECT_HOLDS("ids.offsets.npy: position 2 holds 4 behind 5", refused({0, 5, 4, 8}));
  EXPECT_HOLDS("ids.offsets.npy: ends at 7, but ", refused({0, 5, 7}));
  EXPECT_HOLDS("ids.offsets.npy: has the shape (1, 1); expected one dimension", refused({0}));
  save("ids.offsets.npy", npy_ids("1, 2", std::vector<int64_t>{0, 8}));
  EXPECT_HOLDS("ids.offsets.npy: has the shape (1, 2)", refusal({ids}, {1, 4, 0, false}));
  save("ids.offsets.npy", "x");
  EXPECT_HOLDS("ids.offsets.npy: is not a NumPy file", refusal({ids}, {1, 4, 0, false}));
  const path offsets = offsets_of(ids);
  std::filesystem::remove(offsets);
  std::filesystem::create_symlink("nowhere", offsets);
  EXPECT_HOLDS("ids.offsets.npy: is not a file", refusal({ids}, {1, 4, 0, false}));
  std::filesystem::remove(offsets);
  ASSERT_EQ(mkfifo(offsets.c_str(), 0600), 0);
  EXPECT_HOLDS("ids.offsets.npy: is not a file", refusal({ids}, {1, 4, 0, false}));
}

TEST_F(Windows, RefuseStreamsBesideDocuments) {
  const path documents = save_tokens("documents", {prose(1, 900)});
  const path stream = save("stream.npy", npy_ids("8,", counting(0, 8)));
  EXPECT_HOLDS("stream.npy: has no stream.offsets.npy beside it, as other files have",
               refusal({documents, stream}, {1, 4, 0, false}));
}

TEST_F(Windows, StoredAsRowsNeedNoOffsets) {
  const path windows = save("a.npy", npy_ids("2, 4", counting(0, 8)));
  save_offsets("a", {0, 3, 8});
  EXPECT_EQ(draw({windows}, {2, 4, 0, false}).ids, counting(0, 8));
}

TEST_F(Windows, RefuseTokenFilesOfAnotherShape) {
  const path windows = save("a.npy", npy_ids("2, 4", counting(0, 8)));
  const path stream = save("b.npy", npy_ids("8,", counting(0, 8)));
  EXPECT_HOLDS("a.npy: its windows have 4 tokens, but --length is 2048; use --length 4",
               refusal({windows}, {}));
  EXPECT_HOLDS("a.npy: 2 windows, but --samples is 3; use --samples 2",
               refusal({windows}, {3, 4, 0, false}));
  EXPECT_HOLDS("b.npy: has 1 dimensions, ", refusal({windows, stream}, {1, 4, 0, false}));
  for (const path& file : {windows, stream})
    EXPECT_HOLDS("leave --pack out", refusal({file}, {2, 4, 0, true}));
}

TEST_F(Windows, RefuseTokenIdsOutsideTheVocabulary) {
  const std::vector<int64_t> ids{0, 1, 2, 3, 4, 5, -1, 7, int64_t{1} << 40, 9, 10, 11};
  const path windows = save("a.npy", npy_ids("3, 4", ids));
  EXPECT_HOLDS("a.npy: row 1, column 2 holds id -1, but the model's vocabulary has 2048",
               refusal({windows}, {3, 4, 0, false}));
  EXPECT_HOLDS("a.npy: row 0, column 3 holds id 3, but the model's vocabulary has 3",
               refusal({windows}, {1, 4, 0, false}, 3));
  EXPECT_EQ(draw({windows}, {1, 4, 0, false}, 4).ids, counting(0, 4));
  const path stream = save("b.npy", npy_ids("3,", std::vector<int64_t>{1, 2, int64_t{1} << 32}));
  EXPECT_HOLDS("b.npy: position 2 holds id 4294967296", refusal({stream}, {1, 3, 0, false}));
}

TEST_F(Windows, KnowTheShapeThatTokenFilesHave) {
  const path first = save("a.npy", npy_ids("2, 4", counting(0, 8)));
  const path second = save("b.npy", npy_ids("1, 4", counting(0, 4)));
  const std::optional<WindowShape> shape = stored_windows({first, second});
  ASSERT_TRUE(shape.has_value());
  EXPECT_EQ(shape->samples, 3);
  EXPECT_EQ(shape->length, 4);
  EXPECT_FALSE(stored_windows({save("c.npy", npy_ids("8,", counting(0, 8)))}).has_value());
  EXPECT_FALSE(stored_windows({save("c.txt", "text")}).has_value());
}

TEST_F(Windows, RefuseTextAndTokenIdsTogether) {
  const path ids = save("a.npy", npy_ids("2, 4", counting(0, 8)));
  const path text = save("a.txt", "text");
  EXPECT_HOLDS("a.npy holds token ids, other files text; give one or the other",
               refusal({text, ids}, {1, 4, 0, false}));
}

TEST_F(Windows, NeedATokenizerForText) {
  const path text = save("a.txt", "text");
  EXPECT_HOLDS("a.txt: is text, which needs a tokenizer; name the model's with --tokenizer",
               message_of([&] { draw_windows({text}, {}, {}, kVocab); }));
}

TEST_F(Windows, TellWhatTheTokenizerWarnsOf) {
  const path text = save("a.txt", "text");
  const path model = folder_.path() / "tokenizer.model";
  std::filesystem::copy(tiny_tokenizer(), model);
  EXPECT_TRUE(draw_windows({text}, model, {1, 1, 0, false}, kVocab).warnings.empty());
  save("tokenizer.json", "{");
  const TokenWindows windows = draw_windows({text}, model, {1, 1, 0, false}, kVocab);
  ASSERT_EQ(windows.warnings.size(), 1u);
  EXPECT_HOLDS("tokenizer.json: ", windows.warnings.front());
}

TEST_F(Windows, RefuseSenselessRequests) {
  const path text = save("a.txt", "text");
  EXPECT_HOLDS("--samples 0: expected 1 or more", refusal({text}, {0, 4, 0, false}));
  EXPECT_HOLDS("--length -4: expected 1 or more", refusal({text}, {1, -4, 0, false}));
  EXPECT_HOLDS("are more than 4294967296 tokens", refusal({text}, {int64_t{1} << 62, 4, 0, false}));
  EXPECT_HOLDS("--data: no files are named", refusal({}, {}));
}

}  // namespace
}  // namespace kvcalib
