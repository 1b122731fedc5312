# SPDX-License-Identifier: Apache-2.0
"""Runs `kvcalib evaluate` on the embedded model with scales that may be spoilt, and reads what it reports."""

import json
import os
import shutil
import tempfile
import unittest.mock
from pathlib import Path

import numpy as np

from program import TINY, ProgramTest, Run, kvcalib

TEXT = TINY / "text.jsonl"
BOS = 1
HEADER = {"format": "kvcalib-task", "version": 1, "dataset": "own", "metric": "accuracy"}


def read_report(output: Path) -> dict:
    return json.loads((output / "evaluation.json").read_text(encoding="utf-8"))


def read_items(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "items.jsonl").read_text(encoding="utf-8").splitlines()]


def named(entries: list[dict], name: str, key: str = "name") -> dict:
    found, = [entry for entry in entries if entry[key] == name]
    return found


def streams_of(*directories: Path) -> list:
    return [part for directory in directories for part in ("--scales", directory)]


def report_bytes(output: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in output.iterdir()}


class EvaluationTest(ProgramTest):
    """A test with scales that fit the embedded model, those of two ranks."""

    right_scales: Path  # and kv_stats.safetensors

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # Runs so short that threads waiting for each other would take the most of them.
        threads = unittest.mock.patch.dict(os.environ, OMP_NUM_THREADS="1")
        threads.start()
        cls.addClassCleanup(threads.stop)
        test = cls()
        test.folder = Path(tempfile.mkdtemp(prefix="kvcalib-test-"))
        cls.addClassCleanup(shutil.rmtree, test.folder, ignore_errors=True)
        cls.right_scales = test.calibrate(TINY / "weights", TEXT, "--samples", 16, "--length", 256, name="right")

    def evaluate(self, *arguments, weights: Path = TINY / "weights", devices: str = "cpu", **options) -> Run:
        return kvcalib("evaluate", "--weights", weights, "--devices", devices, "--quiet", *arguments, **options)

    def report(self, *arguments, name: str = "report", code: int = 0, **options) -> Path:
        """The directory that a run writes, which must leave with `code`."""
        output = self.folder / name
        run = self.evaluate(*arguments, "--output", output, **options)
        self.assertEqual(run.code, code, run.err)
        return output

    def assert_refused(self, run: Run, code: int, *words: str):
        self.assertEqual(run.code, code, run.text)
        self.assertEqual(run.out, "")
        for word in words:
            self.assertIn(word, run.err)

    def right(self, name: str = "right") -> Path:
        """A copy of the scales under another name."""
        copy = self.folder / name
        copy.mkdir()
        for file in self.right_scales.glob("layers.*.weight"):
            shutil.copyfile(file, copy / file.name)
        return copy

    def spoilt(self, change, name: str = "spoilt") -> Path:
        """A copy of the scales [layers, ranks, 4], changed in place by `change`."""
        copy = self.right(name)
        scales = read_scales(copy)
        change(scales)
        for layer, of_layer in enumerate(scales):
            for rank, values in enumerate(of_layer):
                values.astype("<f4").tofile(scale_file(copy, layer, rank))
        return copy

    def task(self, name: str, rule: str, items: list[dict], **header) -> Path:
        file = self.folder / f"{name}.jsonl"
        lines = [HEADER | {"task": name, "rule": rule} | header] + [{"id": str(number)} | item
                                                                    for number, item in enumerate(items)]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return file


def tokenizer_of(model: Path):
    import sentencepiece
    files = [model / "tokenizer/tokenizer.model", model / "tokenizer.model"]
    return sentencepiece.SentencePieceProcessor(model_file=str(next(filter(Path.exists, files))))


def own_text(number: int) -> str:
    """A document of the embedded model's."""
    return json.loads(TEXT.read_text(encoding="utf-8").split("\n")[number])["text"]


def own_ids(count: int, length: int) -> np.ndarray:
    """The beginnings of documents of the embedded model's [count, length]."""
    tokenizer = tokenizer_of(TINY)
    documents = ([BOS] + tokenizer.encode(own_text(number)) for number in range(100))
    return np.array([ids[:length] for ids in documents if len(ids) >= length][:count], np.int32)


def scale_file(directory: Path, layer: int, rank: int) -> Path:
    return directory / f"layers.{layer}.past_kv_scale.{rank}.weight"


def read_scales(directory: Path) -> np.ndarray:
    """[layers, ranks, 4] of k_scale, k_zero, v_scale, v_zero."""
    layers = len(list(directory.glob("layers.*.past_kv_scale.0.weight")))
    ranks = len(list(directory.glob("layers.0.past_kv_scale.*.weight")))
    return np.array([[np.fromfile(scale_file(directory, layer, rank), "<f4") for rank in range(ranks)]
                     for layer in range(layers)])
