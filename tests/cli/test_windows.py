# SPDX-License-Identifier: Apache-2.0
"""Which token windows the program calibrates on: those that LMDeploy's get_c4 would draw, whatever the file's form."""

import gzip
import json
import random
import unittest

import numpy as np
import sentencepiece

from program import TINY, ProgramTest

TEXT = TINY / "text.jsonl"


def documents() -> list[str]:
    return [json.loads(line)["text"] for line in TEXT.read_text(encoding="utf-8").split("\n") if line]


class Windows(ProgramTest):
    def encode(self, text: str) -> list[int]:
        tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(TINY / "tokenizer/tokenizer.model"))
        return [tokenizer.bos_id()] + tokenizer.encode(text)

    def draw(self, samples: int, length: int, seed: int) -> np.ndarray:
        """As get_c4 does: a random document that is long enough, then a random place in it."""
        texts, windows = documents(), []
        random.seed(seed)
        for _ in range(samples):
            while True:
                ids = self.encode(texts[random.randint(0, len(texts) - 1)])
                if len(ids) >= length:
                    break
            first = random.randint(0, len(ids) - length)
            windows.append(ids[first:first + length])
        return np.array(windows, np.int32)

    def assert_calibrates_on(self, windows: np.ndarray, data, *arguments, name: str):
        np.save(self.folder / "expected.npy", windows)
        expected = self.calibrate(TINY / "weights", self.folder / "expected.npy", name=name + "-expected")
        self.assert_same_statistics(expected, self.calibrate(TINY / "weights", data, *arguments, name=name))

    def test_documents_are_sampled_as_lmdeploy_samples_them(self):
        for samples, length, seed in ((6, 256, 0), (3, 900, 7)):
            with self.subTest(length=length, seed=seed):
                self.assert_calibrates_on(self.draw(samples, length, seed), TEXT, "--samples", samples, "--length",
                                          length, "--seed", seed, name=f"of-{length}")

    def test_compressed_text_gives_the_same_windows(self):
        file = self.folder / "text.json.gz"
        with gzip.open(file, "wb") as stream:
            stream.write(TEXT.read_bytes())
        self.assert_calibrates_on(self.draw(4, 300, 1), file, "--samples", 4, "--length", 300, "--seed", 1, name="gz")

    def test_several_files_are_one_set_of_documents(self):
        lines = TEXT.read_text(encoding="utf-8").split("\n")
        (self.folder / "part-1.jsonl").write_text("\n".join(lines[:50]) + "\n", encoding="utf-8")
        (self.folder / "part-2.jsonl").write_text("\n".join(lines[50:]), encoding="utf-8")
        windows = self.draw(4, 200, 2)
        self.assert_calibrates_on(windows, [self.folder / "part-1.jsonl", self.folder / "part-2.jsonl"], "--samples", 4,
                                  "--length", 200, "--seed", 2, name="two")
        self.assert_calibrates_on(windows, self.folder / "part-*.jsonl", "--samples", 4, "--length", 200, "--seed", 2,
                                  name="glob")

    def test_tokenizer_may_be_named(self):
        lonely = self.tiny()
        moved = self.folder / "elsewhere.model"
        (lonely.parent / "tokenizer/tokenizer.model").rename(moved)
        arguments = ("--samples", 2, "--length", 200)
        with_option = self.calibrate(lonely, TEXT, "--tokenizer", moved, *arguments, name="named")
        self.assert_same_statistics(with_option, self.calibrate(TINY / "weights", TEXT, *arguments, name="found"))

    def test_wide_ids_are_the_same_windows(self):
        windows = self.draw(3, 150, 3)
        np.save(self.folder / "wide.npy", windows.astype(np.int64))
        self.assert_calibrates_on(windows, self.folder / "wide.npy", name="wide")

    def test_a_stream_of_ids_is_cut_into_windows(self):
        stream = np.concatenate([self.encode(text) for text in documents()[:20]]).astype(np.int32)
        np.save(self.folder / "stream.npy", stream)
        arguments = ("--samples", 4, "--length", 128)
        one = self.calibrate(TINY / "weights", self.folder / "stream.npy", *arguments, "--seed", 5, name="one")
        self.assert_same_statistics(
            one, self.calibrate(TINY / "weights", self.folder / "stream.npy", *arguments, "--seed", 5, name="two"))

    def test_short_documents_can_be_packed(self):
        short = self.folder / "short.jsonl"
        texts = [text for text in documents() if len(self.encode(text)) < 500]
        self.assertGreater(sum(len(self.encode(text)) for text in texts), 4 * 600)
        short.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        self.calibrate(TINY / "weights", short, "--pack", "--samples", 4, "--length", 600, name="packed")


if __name__ == "__main__":
    unittest.main()
