# SPDX-License-Identifier: Apache-2.0
"""scripts/tokenize_text.py: the windows of kvcalib for models that have only a tokenizer.json."""

import gzip
import importlib.util
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np

from program import PROGRAM, SHARED, TINY, environment, kvcalib

try:
    import tokenizers
except ImportError:
    tokenizers = None

SCRIPT = Path(__file__).resolve().parent.parent.parent / "scripts/tokenize_text.py"
_spec = importlib.util.spec_from_file_location("tokenize_text", SCRIPT)
tokenize_text = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tokenize_text)


def prose(seed: int, words: int) -> str:
    generator = random.Random(seed)
    return " ".join("".join(generator.choices("etaoinshrdlu", k=generator.randint(1, 8))) for _ in range(words))


def lines(texts: list[str]) -> bytes:
    return "".join(json.dumps({"text": text, "url": "x"}) + "\n" for text in texts).encode()


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="kvcalib-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def save(self, name: str, data: bytes) -> Path:
        (self.folder / name).write_bytes(data)
        return self.folder / name


class Contents(Folder):
    """Reading in the middle of compressed files."""

    def assert_any_part_is_read(self, packed: bytes, whole: bytes):
        contents = tokenize_text.GzipContents(self.save("a.gz", packed))
        self.assertEqual(b"".join(contents.stream()), whole)
        generator = random.Random(0)
        for _ in range(40):
            first = generator.randint(0, len(whole))
            count = generator.randint(0, min(len(whole) - first, 100_000))
            self.assertEqual(contents.read(first, count), whole[first:first + count])
        return contents

    def test_one_member(self):
        whole = prose(1, 2_500_000).encode()
        contents = self.assert_any_part_is_read(gzip.compress(whole, 1), whole)
        self.assertGreater(len(contents.places), 2)
        self.assertLess(len(contents.places), 2 + len(whole) // tokenize_text.SPACING)

    def test_many_members(self):
        parts = [prose(i, i * i % 5000).encode() for i in range(500)]
        packed = b"".join(gzip.compress(part, 1) for part in parts) + bytes(100)
        self.assert_any_part_is_read(packed, b"".join(parts))

    def test_contents_that_pack_a_thousandfold(self):
        whole = b"a" * 30_000_000
        self.assert_any_part_is_read(gzip.compress(whole), whole)


@unittest.skipIf(tokenizers is None, "the Python package tokenizers is absent")
class TokenizeText(Folder):
    @classmethod
    def setUpClass(cls):
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
        self.output = self.folder / "ids.npy"
        self.texts = [prose(i, words) for i, words in enumerate((30, 900, 5, 0, 700, 2000, 90, 1200))]

    def run_script(self, *arguments, **options) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, str(SCRIPT), "--tokenizer", str(self.tokenizer), "--output",
                               str(self.output), *map(str, arguments)], capture_output=True, text=True,
                              env=environment(), timeout=300, **options)

    def windows(self, *arguments) -> np.ndarray:
        run = self.run_script(*arguments, "--force")
        self.assertEqual(run.returncode, 0, run.stderr)
        return np.load(self.output)

    def assert_refused(self, code: int, *words: str, arguments=()):
        before = {file: file.read_bytes() for file in self.folder.iterdir() if file.is_file()}
        run = self.run_script(*arguments)
        self.assertEqual(run.returncode, code, run.stderr)
        self.assertEqual(run.stdout, "")
        for word in ("error", *words):
            self.assertIn(word, run.stderr)
        self.assertNotIn("Traceback", run.stderr)
        self.assertEqual({file: file.read_bytes() for file in self.folder.iterdir() if file.is_file()}, before)

    def drawn(self, samples: int, length: int, seed: int) -> list[list[int]]:
        """LMDeploy's loop."""
        random.seed(seed)
        windows = []
        for _ in range(samples):
            while True:
                ids = self.model.encode(self.texts[random.randint(0, len(self.texts) - 1)]).ids
                if len(ids) >= length:
                    break
            first = random.randint(0, len(ids) - length)
            windows.append(ids[first:first + length])
        return windows

    def test_draws_as_get_c4_does(self):
        expected = self.drawn(12, 400, 5)
        whole = lines(self.texts)
        half = len(whole) // 2
        arguments = ("--samples", 12, "--length", 400, "--seed", 5)
        for name, data in (("a.jsonl", whole), ("a.json.gz", gzip.compress(whole)),
                           ("b.json.gz", gzip.compress(whole[:half]) + gzip.compress(whole[half:]))):
            with self.subTest(name=name):
                ids = self.windows("--data", self.save(name, whole if name == "a.jsonl" else data), *arguments)
                self.assertEqual(ids.dtype, np.int32)
                self.assertEqual(ids.tolist(), expected)

    def test_several_files_are_one_set_of_documents(self):
        self.save("part-1.jsonl", lines(self.texts[:3]))
        self.save("part-2.json", lines(self.texts[3:6]) + b"\n \r\n")
        self.save("part-3.jsonl.gz", gzip.compress(lines(self.texts[6:])))
        ids = self.windows("--data", self.folder / "part-*", "--samples", 9, "--length", 300, "--seed", 1)
        self.assertEqual(ids.tolist(), self.drawn(9, 300, 1))

    def test_packs_shuffled_documents(self):
        order = list(range(len(self.texts)))
        random.seed(3)
        random.shuffle(order)
        laid = sum((self.model.encode(self.texts[i]).ids for i in order), [])
        file = self.save("a.jsonl", lines(self.texts))
        count = len(laid) // 128
        ids = self.windows("--data", file, "--samples", count, "--length", 128, "--seed", 3, "--pack")
        self.assertEqual(ids.reshape(-1).tolist(), laid[:count * 128])
        self.assert_refused(1, f"hold {len(laid)} tokens", f"enough for {count} windows", "--samples",
                            arguments=["--force", "--data", file, "--samples", count + 1, "--length", 128, "--pack"])

    def test_a_text_file_is_one_document(self):
        text = "\n".join(self.texts)
        ids = self.model.encode(text).ids
        file = self.save("a.txt.gz", gzip.compress(text.encode()))
        self.assertEqual(self.windows("--data", file, "--samples", 1, "--length", len(ids)).tolist(), [ids])

    def test_truncation_set_in_the_tokenizer_is_ignored(self):
        cut = tokenizers.Tokenizer.from_str(self.model.to_str())
        cut.enable_truncation(16)
        cut.enable_padding(length=5000)
        cut.save(str(self.tokenizer))
        file = self.save("a.jsonl", lines(self.texts))
        self.assertEqual(self.windows("--data", file, "--samples", 3, "--length", 400).tolist(), self.drawn(3, 400, 0))

    def test_documents_that_are_too_short(self):
        longest = max(len(self.model.encode(text).ids) for text in self.texts)
        file = self.save("a.jsonl", lines(self.texts))
        self.assert_refused(1, "8 documents", str(longest + 1), f"--length {longest} or less", "--pack",
                            arguments=["--data", file, "--length", longest + 1])

    def test_bad_text_names_file_and_line(self):
        for name, data, words in (
                ("a.jsonl", b'{"text": "x"}\n\nno json\n', ("a.jsonl, line 3", "JSON")),
                ("b.jsonl", b'{"text": "x"}\n{"url": "x"}\n', ("b.jsonl, line 2", "has no 'text'")),
                ("c.jsonl", b'{"text": 3}\n', ("c.jsonl, line 1", "is 3, not a string")),
                ("d.jsonl", b'[1]\n', ("d.jsonl, line 1", "not a JSON object")),
                ("e.jsonl", b'{"text": "\xff"}\n', ("e.jsonl, line 1", "UTF-8")),
                ("f.jsonl", b'{"text": "\\ud800"}\n', ("f.jsonl, line 1", "surrogate")),
                ("g.txt", b"one\ntwo\xff", ("g.txt, line 2", "UTF-8")),
                ("h.jsonl", b"\n", ("h.jsonl", "holds no document")),
                ("i.json.gz", gzip.compress(lines(self.texts))[:-20], ("i.json.gz", "cut off")),
                ("j.json.gz", gzip.compress(lines(self.texts)) + b"rubbish", ("j.json.gz", "is not gzip")),
                ("k.json.gz", b"no gzip", ("k.json.gz", "is not gzip")),
                ("l.json.gz", b"", ("l.json.gz", "empty")),
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
        self.save("ids.npy", b"mine")
        self.assert_refused(1, "ids.npy", "--force", arguments=["--data", file, "--length", 100])
        self.assertEqual(self.windows("--data", file, "--samples", 2, "--length", 100).shape, (2, 100))
        self.assertEqual(sorted(os.listdir(self.folder)), ["a.jsonl", "ids.npy", "tokenizer.json"])
        self.assertEqual(self.output.stat().st_mode & 0o777, file.stat().st_mode & 0o777)

    def test_a_full_disk_leaves_nothing(self):
        file = self.save("a.jsonl", lines(self.texts))

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        run = self.run_script("--data", file, "--samples", 20, "--length", 400, preexec_fn=limit)
        self.assertEqual(run.returncode, 1, run.stderr)
        self.assertIn("error", run.stderr)
        self.assertEqual(sorted(os.listdir(self.folder)), ["a.jsonl", "tokenizer.json"])

    def test_wrong_usage(self):
        file = self.save("a.jsonl", lines(self.texts))
        for arguments in (["--samples", "0"], ["--length", "x"], ["--seed", "-1"], ["--nonsense"]):
            self.assert_refused(2, arguments[0], arguments=["--data", file, *arguments])
        self.assert_refused(2, "--data")
        self.output = self.folder / "ids.bin"
        self.assert_refused(2, "ids.bin", ".npy", arguments=["--data", file])

    def test_large_compressed_files_are_not_held_in_memory(self):
        file = self.folder / "a.json.gz"
        paragraph = lines([prose(1, 400) for _ in range(200)])
        with gzip.open(file, "wb", compresslevel=1) as stream:
            for _ in range(200_000_000 // len(paragraph)):
                stream.write(paragraph)

        def limit():  # the interpreter and the libraries need most of it
            resource.setrlimit(resource.RLIMIT_DATA, (180_000_000, 180_000_000))
        run = subprocess.run(
            [sys.executable, str(SCRIPT), "--tokenizer", self.tokenizer, "--output", self.output, "--data", file,
             "--samples", "8", "--length", "256"], capture_output=True, text=True, preexec_fn=limit,
            env=environment(OPENBLAS_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1"))
        self.assertEqual(run.returncode, 0, run.stderr)

    @unittest.skipUnless(PROGRAM.exists(), "kvcalib is not built")
    def test_kvcalib_takes_the_ids_as_they_are(self):
        file = self.save("a.jsonl", lines(self.texts))
        self.windows("--data", file, "--samples", 3, "--length", 200)
        run = kvcalib("calibrate", "--weights", TINY / "weights", "--data", self.output, "--samples", 3, "--length", 200,
                      "--devices", "cpu", "--quiet", "--output", self.folder / "scales")
        self.assertEqual(run.code, 0, run.err)

    @unittest.skipUnless((SHARED / "c4").is_dir(), "the C4 sample of ../shared is absent")
    def test_c4(self):
        file = SHARED / "c4/c4_en_train_sample.jsonl"
        self.texts = [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").split("\n") if line]
        ids = self.windows("--data", file, "--samples", 4, "--length", 2048)
        self.assertEqual(ids.tolist(), self.drawn(4, 2048, 0))


if __name__ == "__main__":
    unittest.main()
