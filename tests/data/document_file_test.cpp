// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/document_file.h"

#include <gtest/gtest.h>

#include "sharding/files/sha256.h"
#include "tests/data/data_fixture.h"

namespace kvcalib {
namespace {

using namespace fixture;

class DocumentFileTest : public testing::Test {
 protected:
  std::filesystem::path save(const std::string& name, std::string_view bytes) {
    return write(folder_.path() / name, bytes);
  }
  std::string refusal(const std::string& name, std::string_view bytes) {
    return message_of([&] { DocumentFile{save(name, bytes)}; });
  }

  TemporaryFolder folder_;
};

// Documents from empty to longer than a piece of reading, some with characters of several bytes.
std::vector<std::string> some_texts() {
  std::vector<std::string> texts;
  for (size_t i = 0; i < 400; ++i) {
    texts.push_back(prose(i, i % 50 == 0 ? i * 2000 : i * 13) +
                    (i % 3 == 0 ? "\u00e9\n\u2028\"" : ""));
  }
  texts.push_back("");
  return texts;
}

std::string lines_of(const std::vector<std::string>& texts) {
  std::string lines;
  for (const std::string& text : texts) lines += json_line(text);
  return lines;
}

void expect_texts(const DocumentFile& file, const std::vector<std::string>& texts) {
  ASSERT_EQ(file.documents(), static_cast<int64_t>(texts.size()));
  for (int64_t i = file.documents(); i-- > 0;) {
    ASSERT_EQ(file.text(i), texts[i]) << "document " << i;
    ASSERT_EQ(file.text_bytes(i), texts[i].size());
  }
}

TEST_F(DocumentFileTest, GivesEveryDocumentOfJsonLines) {
  const std::vector<std::string> texts = some_texts();
  const std::string lines = lines_of(texts);
  for (const char* name : {"a.jsonl", "a.json"})
    expect_texts(DocumentFile(save(name, lines)), texts);
}

TEST_F(DocumentFileTest, GivesEveryDocumentOfCompressedLines) {
  const std::vector<std::string> texts = some_texts();
  const std::string lines = lines_of(texts);
  const size_t half = lines.size() / 2;
  const std::string members = gzip(lines.substr(0, half)) + gzip(lines.substr(half), 1);
  expect_texts(DocumentFile(save("a.json.gz", gzip(lines))), texts);
  expect_texts(DocumentFile(save("a.jsonl.gz", members)), texts);
}

TEST_F(DocumentFileTest, SkipsBlankLinesAndCountsThem) {
  const DocumentFile file(save("a.jsonl", "\n{\"text\": \"one\"}\r\n \t\r\n\n{\"text\": \"two\"}"));
  expect_texts(file, {"one", "two"});
  EXPECT_EQ(file.where(0), (folder_.path() / "a.jsonl").string() + ", line 2");
  EXPECT_EQ(file.where(1), (folder_.path() / "a.jsonl").string() + ", line 5");
}

TEST_F(DocumentFileTest, TakesAWholeTextFileAsOneDocument) {
  const std::string text = "One line.\n\nAnother \u00e9\u00e8\r\n{\"text\": 3}\nno end";
  expect_texts(DocumentFile(save("a.txt", text)), {text});
  expect_texts(DocumentFile(save("a.txt.gz", gzip(text))), {text});
  expect_texts(DocumentFile(save("none.txt", "")), {""});
  EXPECT_EQ(DocumentFile(save("a.txt", text)).where(0), (folder_.path() / "a.txt").string());
}

TEST_F(DocumentFileTest, HashesTheBytesOfTheFile) {
  const std::string packed = gzip(lines_of({"one", "two"}));
  const DocumentFile file(save("a.json.gz", packed));
  EXPECT_EQ(file.file().sha256, sha256_hex(packed));
  EXPECT_EQ(file.file().bytes, packed.size());
  EXPECT_EQ(file.file().path, folder_.path() / "a.json.gz");
}

TEST_F(DocumentFileTest, NamesTheLineOfAFault) {
  EXPECT_HOLDS("a.jsonl, line 3: is not JSON", refusal("a.jsonl", "{\"text\":\"x\"}\n\nrubbish\n"));
  EXPECT_HOLDS("a.jsonl, line 2: has no 'text'", refusal("a.jsonl", "{\"text\":\"x\"}\n{\"t\":1}"));
  EXPECT_HOLDS("a.jsonl, line 1: is not UTF-8 at byte 10",
               refusal("a.jsonl", "{\"text\":\"\xff\"}\n"));
  EXPECT_HOLDS("a.json.gz, line 2: is not JSON",
               refusal("a.json.gz", gzip("{\"text\":\"x\"}\n{\"text\":\n")));
  EXPECT_HOLDS("a.txt, line 2: is not UTF-8 at byte 4", refusal("a.txt", "good\nbad\xc3\n\xa9"));
}

TEST_F(DocumentFileTest, RefusesFilesWithoutDocuments) {
  EXPECT_HOLDS("a.jsonl: holds no document", refusal("a.jsonl", ""));
  EXPECT_HOLDS("a.jsonl: holds no document", refusal("a.jsonl", " \n\r\n\n"));
  EXPECT_HOLDS("a.json.gz: holds no document", refusal("a.json.gz", gzip("")));
}

TEST_F(DocumentFileTest, RefusesDamagedCompression) {
  const std::string whole = gzip(lines_of(some_texts()));
  EXPECT_HOLDS("a.json.gz: the gzip data are cut off",
               refusal("a.json.gz", whole.substr(0, whole.size() - 3)));
  EXPECT_HOLDS("a.json.gz: is not gzip", refusal("a.json.gz", "no gzip"));
}

TEST_F(DocumentFileTest, RefusesADocumentTooLargeToCut) {
  const auto refusal_of = [&](const char* name, const std::string& bytes) {
    return message_of([&] { DocumentFile(save(name, bytes), 1000); });
  };
  const std::string large(1001, 'a');
  EXPECT_HOLDS("a.txt: is a document of more than 1000 bytes; cut it into JSON lines",
               refusal_of("a.txt", large));
  EXPECT_HOLDS("a.txt: is a document of more",
               refusal_of("a.txt", prose(1, 600) + "\n" + prose(2, 600)));
  EXPECT_HOLDS("a.jsonl, line 2: is a document of more than 1000 bytes",
               refusal_of("a.jsonl", json_line("x") + json_line(large)));
  EXPECT_EQ(DocumentFile(save("a.txt", large.substr(1)), 1000).text(0).size(), 1000u);
}

TEST_F(DocumentFileTest, NoticesThatTheFileChanged) {
  const DocumentFile file(save("a.jsonl", "{\"text\": \"one\"}\n{\"text\": \"two\"}\n"));
  save("a.jsonl", "{\"text\": \"thirtythree\"}\n");
  EXPECT_HOLDS("a.jsonl, line 1", message_of([&] { file.text(0); }));
  EXPECT_HOLDS("was it changed while it was read?", message_of([&] { file.text(1); }));
  save("a.jsonl", "{\"text\":  \"on\"}\n");
  EXPECT_HOLDS("was changed while it was read", message_of([&] { file.text(0); }));
  std::filesystem::remove(folder_.path() / "a.jsonl");
  EXPECT_HOLDS("a.jsonl: cannot be read: No such file", message_of([&] { file.text(0); }));
}

TEST_F(DocumentFileTest, HoldsLittleMemoryBesideTheText) {
  std::vector<std::string> texts;
  for (size_t i = 0; i < 6000; ++i) texts.push_back(prose(i, 2300));
  const std::string lines = lines_of(texts);
  const DocumentFile file(save("a.json.gz", gzip(lines, 1)));
  EXPECT_LT(file.memory_bytes(), lines.size() / 20);
}

TEST_F(DocumentFileTest, KnowsItsFormsByName) {
  EXPECT_EQ(form_of("a/c4.00000.json.gz"), DataForm::kJsonLines);
  EXPECT_EQ(form_of("a.jsonl"), DataForm::kJsonLines);
  EXPECT_EQ(form_of("a.txt.gz"), DataForm::kText);
  EXPECT_EQ(form_of("a.npy"), DataForm::kTokenIds);
  for (const char* name : {"a.npy.gz", "a.gz", "a", "a.parquet", "json", ".json", "a.json.zst"}) {
    EXPECT_EQ(form_of(name), DataForm::kUnknown) << name;
  }
}

}  // namespace
}  // namespace kvcalib
