# SPDX-License-Identifier: Apache-2.0
"""scripts/tokenize_text.py: documents as ids for models that have only a tokenizer.json, and kvcalib's windows of them."""

import gzip
import json
import os
import random
import resource
import subprocess
import sys
import unittest
from pathlib import Path

import numpy as np

from program import ROOT, TINY, ProgramTest, environment

try:
    import tokenizers
except ImportError:
    tokenizers = None

SCRIPT = ROOT / "scripts/tokenize_text.py"


def prose(seed: int, words: int) -> str:
    generator = random.Random(seed)
    return " ".join("".join(generator.choices("etaoinshrdlu", k=generator.randint(1, 8))) for _ in range(words))


def lines(texts: list[str]) -> bytes:
    return "".join(json.dumps({"text": text, "url": "x"}) + "\n" for text in texts).encode()


@unittest.skipIf(tokenizers is None, "the Python package tokenizers is absent")
class TokenizeText(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        texts = [prose(i, 300) for i in range(40)]
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.train_from_iterator(texts, tokenizers.trainers.BpeTrainer(
            vocab_size=500, special_tokens=["<s>"], show_progress=False,
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()))
        tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))])
        cls.model = tokenizer

    def setUp(self):
        super().setUp()
        self.tokenizer = self.folder / "tokenizer.json"
        self.model.save(str(self.tokenizer))
        self.output, self.offsets = self.folder / "ids.npy", self.folder / "ids.offsets.npy"
        self.texts = [prose(i, words) for i, words in enumerate((30, 900, 5, 0, 700, 2000, 90, 1200))]

    def save(self, name: str, data: bytes) -> Path:
        (self.folder / name).write_bytes(data)
        return self.folder / name

    def run_script(self, *arguments, **options) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, str(SCRIPT), "--tokenizer", str(self.tokenizer), "--output",
                               str(self.output), *map(str, arguments)], capture_output=True, text=True,
                              env=environment(), timeout=300, **options)

    def written(self, *arguments) -> list[list[int]]:
        """The documents that the two files hold."""
        run = self.run_script(*arguments, "--force")
        self.assertEqual(run.returncode, 0, run.stderr)
        ids, offsets = np.load(self.output), np.load(self.offsets)
        self.assertEqual((ids.dtype, offsets.dtype), (np.int32, np.int64))
        self.assertEqual((offsets[0], offsets[-1]), (0, len(ids)))
        return [ids[first:end].tolist() for first, end in zip(offsets, offsets[1:])]

    def encoded(self, texts: list[str]) -> list[list[int]]:
        return [self.model.encode(text).ids for text in texts]

    def assert_refused(self, code: int, *words: str, arguments=()):
        before = {file: file.read_bytes() for file in self.folder.iterdir() if file.is_file()}
        run = self.run_script(*arguments)
        self.assertEqual(run.returncode, code, run.stderr)
        self.assertEqual(run.stdout, "")
        for word in ("error", *words):
            self.assertIn(word, run.stderr)
        self.assertNotIn("Traceback", run.stderr)
        self.assertEqual({file: file.read_bytes() for file in self.folder.iterdir() if file.is_file()}, before)

    def test_writes_the_ids_of_each_document(self):
        whole = lines(self.texts)
        half = len(whole) // 2
        for name, data in (("a.jsonl", whole), ("a.json.gz", gzip.compress(whole)),
                           ("b.json.gz", gzip.compress(whole[:half]) + gzip.compress(whole[half:]))):
            with self.subTest(name=name):
                self.assertEqual(self.written("--data", self.save(name, data)), self.encoded(self.texts))

    def test_several_files_are_one_set_of_documents(self):
        self.save("part-1.jsonl", lines(self.texts[:3]))
        self.save("part-2.json", lines(self.texts[3:6]) + b"\n \r\n")
        self.save("part-3.jsonl.gz", gzip.compress(lines(self.texts[6:])))
        self.assertEqual(self.written("--data", self.folder / "part-*"), self.encoded(self.texts))

    def test_lines_end_where_the_program_ends_them(self):
        texts = ["one\u2028two", "three\x85four\x0cfive", "six\rseven\r\neight"]
        data = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts).encode()
        self.assertEqual(self.written("--data", self.save("a.jsonl", data)), self.encoded(texts))

    def test_a_text_file_is_one_document(self):
        text = "\r\n".join(self.texts)
        file = self.save("a.txt.gz", gzip.compress(text.encode()))
        self.assertEqual(self.written("--data", file), self.encoded([text]))

    def test_truncation_set_in_the_tokenizer_is_ignored(self):
        cut = tokenizers.Tokenizer.from_str(self.model.to_str())
        cut.enable_truncation(16)
        cut.enable_padding(length=5000)
        cut.save(str(self.tokenizer))
        self.assertEqual(self.written("--data", self.save("a.jsonl", lines(self.texts))), self.encoded(self.texts))

    def test_many_documents_are_cut_in_order(self):
        texts = [prose(i, i % 7) for i in range(3000)]
        self.assertEqual(self.written("--data", self.save("a.jsonl", lines(texts))), self.encoded(texts))

    def test_what_lies_behind_the_documents_that_are_wanted_is_not_read(self):
        file = self.save("a.jsonl", lines(self.texts) + b"no json\n")
        self.assertEqual(self.written("--data", file, "--documents", 5), self.encoded(self.texts[:5]))
        self.assert_refused(1, "a.jsonl, line 9", arguments=["--data", file, "--documents", 9, "--force"])

    def test_kvcalib_draws_the_windows_of_get_c4(self):
        file = self.save("a.jsonl", lines(self.texts))
        self.written("--data", file)
        random.seed(5)
        windows = []
        while len(windows) < 6:
            ids = self.model.encode(self.texts[random.randint(0, len(self.texts) - 1)]).ids
            if len(ids) >= 400:
                first = random.randint(0, len(ids) - 400)
                windows.append(ids[first:first + 400])
        order = list(range(len(self.texts)))
        random.seed(5)
        random.shuffle(order)
        packed = np.concatenate([self.model.encode(self.texts[i]).ids for i in order])[:6 * 400].reshape(6, 400)
        for name, expected, pack in (("drawn", windows, ()), ("packed", packed, ("--pack",))):
            np.save(self.folder / f"{name}.npy", np.array(expected, np.int32))
            self.assert_same_statistics(
                self.calibrate(TINY / "weights", self.folder / f"{name}.npy", name=f"{name}-rows"),
                self.calibrate(TINY / "weights", self.output, "--samples", 6, "--length", 400, "--seed", 5, *pack, name=name))

    def test_bad_text_names_file_and_line(self):
        for name, data, words in (
                ("a.jsonl", b'{"text": "x"}\n\nno json\n', ("a.jsonl, line 3", "JSON")),
                ("b.jsonl", b'{"text": "x"}\n{"url": "x"}\n', ("b.jsonl, line 2", "no string 'text'")),
                ("c.jsonl", b'{"text": 3}\n', ("c.jsonl, line 1", "no string 'text'")),
                ("d.jsonl", b'[1]\n', ("d.jsonl, line 1", "no string 'text'")),
                ("e.jsonl", b'{"text": "\xff"}\n', ("e.jsonl, line 1", "UTF-8")),
                ("f.jsonl", b'{"text": "\\ud800"}\n', ("f.jsonl, line 1", "surrogate")),
                ("g.txt", b"one\ntwo\xff", ("g.txt", "UTF-8", "byte 8")),
                ("h.jsonl", b"\n", ("h.jsonl", "holds no document")),
                ("i.json.gz", gzip.compress(lines(self.texts))[:-20], ("i.json.gz", "damaged")),
                ("j.json.gz", gzip.compress(lines(self.texts)) + b"rubbish", ("j.json.gz", "damaged")),
                ("k.json.gz", b"no gzip", ("k.json.gz", "is not gzip")),
                ("l.json.gz", b"", ("l.json.gz", "holds no document")),
                ("m.parquet", b"", ("m.parquet", "unknown extension", ".jsonl"))):
            with self.subTest(name=name):
                self.assert_refused(1, *words, arguments=["--data", self.save(name, data)])
        self.assert_refused(1, "none.jsonl", "no such file", arguments=["--data", self.folder / "none.jsonl"])

    def test_bad_tokenizers(self):
        file = self.save("a.jsonl", lines(self.texts))
        self.tokenizer.write_text("{}")
        self.assert_refused(1, "tokenizer.json", arguments=["--data", file])
        self.tokenizer.unlink()
        self.assert_refused(1, "tokenizer.json", "no such file", arguments=["--data", file])

    def test_output_appears_whole_and_is_not_replaced_unasked(self):
        file = self.save("a.jsonl", lines(self.texts))
        for name in ("ids.npy", "ids.offsets.npy"):
            self.save(name, b"mine")
            self.assert_refused(1, name, "--force", arguments=["--data", file])
            (self.folder / name).unlink()
        self.written("--data", file)
        self.assertEqual(sorted(os.listdir(self.folder)), ["a.jsonl", "ids.npy", "ids.offsets.npy", "tokenizer.json"])
        for output in (self.output, self.offsets):
            self.assertEqual(output.stat().st_mode & 0o777, file.stat().st_mode & 0o777)

    def test_a_full_disk_leaves_nothing(self):
        file = self.save("a.jsonl", lines(self.texts))

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        run = self.run_script("--data", file, preexec_fn=limit)
        self.assertEqual(run.returncode, 1, run.stderr)
        self.assertIn("error", run.stderr)
        self.assertEqual(sorted(os.listdir(self.folder)), ["a.jsonl", "tokenizer.json"])

    def test_wrong_usage(self):
        file = self.save("a.jsonl", lines(self.texts))
        for arguments in (["--documents", "0"], ["--documents", "x"], ["--nonsense"]):
            self.assert_refused(2, arguments[0], arguments=["--data", file, *arguments])
        self.assert_refused(2, "--data")
        self.output = self.folder / "ids.bin"
        self.assert_refused(2, "ids.bin", ".npy", arguments=["--data", file])


if __name__ == "__main__":
    unittest.main()
