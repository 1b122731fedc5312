// SPDX-License-Identifier: Apache-2.0
// The windows against Python's own `random` and `sentencepiece`.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <sstream>

#include "calibrate/data/tokenizer.h"
#include "calibrate/data/windows.h"
#include "tests/data/data_fixture.h"

namespace kvcalib {
namespace {

using namespace fixture;
using std::filesystem::path;

constexpr int kMissing = 77;

constexpr const char* kProgram = R"python(
import json, random, re, sys
try:
    import sentencepiece
except ImportError:
    sys.exit(77)
model, data, samples, length, seed, pack = sys.argv[1:]
samples, length = int(samples), int(length)
tokenizer = sentencepiece.SentencePieceProcessor(model_file=model)
texts = [json.loads(line)["text"] for line in open(data, encoding="utf-8", newline="\n")]
def encode(text):
    ids = [tokenizer.bos_id()]
    for part in re.split("(<s>|</s>|<unk>)", text):  # as transformers' tokenizers in Python do
        ids += [tokenizer.piece_to_id(part)] if part in ("<s>", "</s>", "<unk>") else tokenizer.encode(part)
    return ids
random.seed(int(seed))
if pack == "1":
    random.shuffle(texts)
    ids = []
    while len(ids) < samples * length:
        ids += encode(texts.pop(0))
    print(*ids[:samples * length])
else:
    for _ in range(samples):
        while True:
            ids = encode(texts[random.randint(0, len(texts) - 1)])
            if len(ids) >= length:
                break
        first = random.randint(0, len(ids) - length)
        print(*ids[first:first + length])
)python";

std::string python() {
  if (const char* named = std::getenv("KVCALIB_PYTHON")) return named;
  const path own = repository() / ".venv/bin/python";
  return exists(own) ? own.string() : "python3";
}

// What Python draws; nothing where it has no sentencepiece.
std::vector<int32_t> drawn_by_python(const path& script, const path& model, const path& data,
                                     const WindowRequest& request) {
  const std::string command =
      concat("'", python(), "' '", write(script, kProgram).string(), "' '", model.string(), "' '",
             data.string(), "' ", request.samples, " ", request.length, " ", request.seed, " ",
             request.pack ? 1 : 0);
  FILE* pipe = popen(command.c_str(), "r");
  std::string output;
  std::array<char, 4096> buffer{};
  for (size_t count; (count = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
    output.append(buffer.data(), count);
  const int status = pclose(pipe);
  if (WIFEXITED(status) && WEXITSTATUS(status) == kMissing) return {};
  EXPECT_EQ(status, 0) << command;
  std::istringstream numbers(output);
  return {std::istream_iterator<int32_t>(numbers), std::istream_iterator<int32_t>()};
}

class GetC4 : public testing::Test {
 protected:
  void compare(const path& model, const path& data, const WindowRequest& request, int64_t vocab) {
    const std::vector<int32_t> expected =
        drawn_by_python(folder_.path() / "get_c4.py", model, data, request);
    if (expected.empty()) GTEST_SKIP() << python() << " has no sentencepiece";
    EXPECT_EQ(draw_windows({data}, model, request, vocab).ids, expected);
  }

  TemporaryFolder folder_;
};

TEST_F(GetC4, DrawsTheSameWindowsFromTheEmbeddedText) {
  compare(tiny_tokenizer(), repository() / "configs/tiny-4m/text.jsonl", {12, 512, 0, false}, 2048);
}

TEST_F(GetC4, DrawsTheSameWindowsOfUnusualCharacters) {
  std::string lines;
  for (uint64_t i = 0; i < 60; ++i) {
    std::string text;
    while (text.size() < i * 40) {
      text += prose(i + text.size(), 50) +
              "\n\t  \u00e9\u4f60\u597d\u2028\U0001f600 \u2581 <s> \ufdfa\r\n";
    }
    lines += json_line(text);
  }
  const path data = write(folder_.path() / "a.jsonl", lines);
  compare(tiny_tokenizer(), data, {20, 300, 18446744073709551615ULL, false}, 2048);
  compare(tiny_tokenizer(), data, {20, 300, 5, true}, 2048);
}

class GetC4OfSharedData : public GetC4 {
 protected:
  void SetUp() override {
    if (!exists(data_) || !exists(model_))
      GTEST_SKIP() << data_ << " or " << model_ << " is absent";
  }
  path data_ = shared() / "data/c4/c4_en_train_sample.jsonl";
  path model_ = shared() / "data/tokenizers/llama2_tokenizer.model";
};

TEST_F(GetC4OfSharedData, DrawsTheSameWindows) {
  compare(model_, data_, {16, 2048, 0, false}, 32000);
  compare(model_, data_, {16, 512, 1234567890123, false}, 32000);
}

TEST_F(GetC4OfSharedData, PacksTheSameWindows) {
  compare(model_, data_, {32, 2048, 3, true}, 32000);
}

}  // namespace
}  // namespace kvcalib
