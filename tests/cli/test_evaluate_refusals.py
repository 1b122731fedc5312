# SPDX-License-Identifier: Apache-2.0
"""What `kvcalib evaluate` does not do: it says so on one line, computes nothing and writes nothing."""

import contextlib
import gzip
import json
import shutil
import unittest

import numpy as np

from evaluation import HEADER, TEXT, EvaluationTest, own_ids, report_bytes, streams_of
from program import ROOT, TINY, digests

ITEM = {"id": "0", "texts": ["It was.", "It was not."], "gold": 0}


class Refusals(EvaluationTest):
    def setUp(self):
        super().setUp()
        np.save(self.folder / "ids.npy", own_ids(1, 16))
        self.data = ("--data", self.folder / "ids.npy")
        self.output = self.folder / "report"

    def refuse(self, code: int, *words: str, arguments=(), **options):
        before = digests(self.folder)
        run = self.evaluate(*arguments, "--scales", self.right_scales, "--output", self.output, **options)
        self.assert_refused(run, code, *words)
        self.assertEqual(run.err.count("kvcalib: error: "), 1, run.err)
        self.assertEqual(digests(self.folder), before)

    def refuse_task(self, lines: list, *words: str, line: int | None = None):
        """A task file of these lines is refused, and named with the line."""
        file = self.folder / "damaged.jsonl"
        file.write_text("".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in lines),
                        encoding="utf-8")
        self.refuse(1, str(file), *([f"line {line}"] if line else []), *words, arguments=("--tasks", file))

    def test_nothing_to_score(self):
        self.refuse(2, "--data FILE", "--tasks FILE", "--copy")

    def test_options_that_do_not_fit(self):
        run = self.evaluate(*self.data, "--scales", self.right_scales, "--resume")
        self.assert_refused(run, 2, "--resume", "--output DIR")
        for option, value in (("--length", 1), ("--group", 0), ("--max-kl", "little"), ("--max-loss", "RTE"),
                              ("--max-loss", "RTE=few"), ("--method", "good"), ("--formats", "int4")):
            with self.subTest(option=option, value=value):
                self.refuse(2, option, arguments=(*self.data, option, value))

        self.refuse(2, "--max-loss", "--tasks FILE", arguments=(*self.data, "--max-loss", "RTE=1"))
        self.refuse(2, "--scales ''", arguments=(*self.data, "--scales", ""))
        self.refuse(1, "--scales", "nowhere", arguments=(*self.data, "--scales", self.folder / "nowhere"))

    def test_an_unknown_task(self):
        task = self.task("RTE", "ppl", [{"texts": ["It was.", "It was not."], "gold": 0}])
        self.refuse(2, "--max-loss BoolQ", arguments=("--tasks", task, "--max-loss", "BoolQ=1"))

    def test_one_task_twice(self):
        for name in ("one", "two"):
            (self.folder / f"{name}.jsonl").write_text(json.dumps(HEADER | {"task": "RTE", "rule": "ppl"}) + "\n"
                                                       + json.dumps(ITEM) + "\n")
        self.refuse(2, "RTE", str(self.folder / "two.jsonl"), arguments=(
            "--tasks", self.folder / "one.jsonl", "--tasks", self.folder / "two.jsonl"))

    def test_a_preset(self):
        self.refuse(2, "preset", arguments=self.data, weights=ROOT / "configs/llama-2-7b.json")

    def test_an_output_that_is_there(self):
        arguments = (*self.data, "--scales", self.right_scales, "--output", self.output)
        self.assertEqual(self.evaluate(*arguments).code, 0)
        before = report_bytes(self.output)
        self.refuse(1, str(self.output), "--force", arguments=(*self.data, "--limit", 1))
        self.assertEqual(report_bytes(self.output), before)
        self.assertEqual(self.evaluate(*arguments, "--length", 8, "--force").code, 1)  # a row of 16 is longer
        self.assertEqual(report_bytes(self.output), before)
        np.save(self.folder / "ids.npy", own_ids(2, 16))
        self.assertEqual(self.evaluate(*arguments, "--force").code, 0)
        self.assertNotEqual(report_bytes(self.output), before)

    def test_an_output_of_others(self):
        self.output.mkdir()
        (self.output / "thesis.txt").write_text("mine")
        for more in ((), ("--force",)):
            self.refuse(1, str(self.output), "thesis.txt" if more else str(self.output), arguments=(*self.data, *more))

    def test_an_output_where_something_else_belongs(self):
        weights = self.tiny()
        before = digests(weights)
        run = self.evaluate(*self.data, "--scales", self.right_scales, "--output", weights / "report", weights=weights)
        self.assert_refused(run, 1, str(weights / "report"), "weights directory")
        self.assertEqual(digests(weights), before)
        for place in ("report", "./report", "new/../report"):
            with contextlib.chdir(weights):
                run = self.evaluate(*self.data, "--scales", self.right_scales, "--output", place, weights=weights)
            self.assert_refused(run, 1, f"--output {place}", "weights directory")
        self.assertEqual(digests(weights), before)
        self.refuse(1, f"--trace {self.output}", "--output", arguments=(*self.data, "--trace", self.output))
        with contextlib.chdir(self.folder):
            run = self.evaluate(*self.data, "--scales", self.right_scales, "--output", "report", "--trace",
                                self.output)
        self.assert_refused(run, 1, f"--trace {self.output}")
        self.output.mkdir()
        inner = self.output / "trace.json"
        self.refuse(1, f"--trace {inner}", "--output", arguments=(*self.data, "--trace", inner))

    def test_going_on_with_what_is_finished(self):
        arguments = (*self.data, "--scales", self.right_scales, "--output", self.output)
        self.assertEqual(self.evaluate(*arguments).code, 0)
        self.refuse(1, "--resume", "finished report", "--force", arguments=(*self.data, "--resume"))

    def test_a_damaged_task_file(self):
        header = HEADER | {"task": "own", "rule": "ppl"}
        whole = [header, ITEM]
        self.refuse_task([])
        self.refuse_task([header])
        self.refuse_task([ITEM], line=1)
        self.refuse_task([*whole, '{"id": "1", "texts": ["It'], line=3)
        self.refuse_task([*whole, "", ITEM], "id", line=4)  # the same id again
        self.refuse_task([header | {"version": 2}, ITEM], "version", line=1)
        self.refuse_task([header | {"rule": "best"}, ITEM], "rule", line=1)
        self.refuse_task([header, ITEM | {"gold": 2}], "gold", line=2)
        self.refuse_task([header, ITEM | {"gold": None}], "gold", line=2)
        self.refuse_task([header, ITEM | {"texts": ["alone"]}], "texts", line=2)
        self.refuse_task([header, ITEM | {"texts": ["", "It"]}], line=2)
        self.refuse_task([header, ITEM | {"colour": 1}], "colour", line=2)
        self.refuse_task([header | {"rule": "ll"}, ITEM], "from", line=2)
        self.refuse_task([header, {"id": "0", "ids": [[1, 2], [1, 2048]], "gold": 0}], "2048", line=2)
        self.refuse_task([header, {"id": "0", "ids": [[1, 2], [1, -1]], "gold": 0}], line=2)

    def test_a_generation_task(self):
        question = {"id": "1", "prompt": "How many?", "answers": ["4"]}
        self.refuse_task([HEADER | {"task": "gsm8k", "rule": "ppl"}, ITEM, question], "prompt", "gen", line=3)
        header = HEADER | {"task": "gsm8k", "rule": "gen", "extract": "em"}
        self.refuse_task([header, question], "max_new_tokens", line=1)
        header |= {"max_new_tokens": 8}
        self.refuse_task([header, question | {"prompt": ""}], "prompt", line=2)
        file = self.task("gsm8k", "gen", [{"prompt": "How many?", "answers": ["4"]}], extract="em", max_new_tokens=8)
        self.refuse(1, "--length 9", str(file), arguments=("--tasks", file, "--length", 9))
        self.refuse(2, "--formats per-token", "rule gen", arguments=("--tasks", file, "--formats", "per-token"))

    def test_a_damaged_gzip(self):
        file = self.folder / "own.jsonl.gz"
        content = gzip.compress("\n".join(map(json.dumps, (HEADER | {"task": "own", "rule": "ppl"}, ITEM))).encode())
        file.write_bytes(content[:-12])
        self.refuse(1, str(file), arguments=("--tasks", file))
        file.write_bytes(content)
        self.assertEqual(self.evaluate("--tasks", file, *streams_of(self.right_scales)).code, 0)

    def test_data_that_are_not_there(self):
        for option in ("--data", "--tasks"):
            self.refuse(1, str(self.folder / "nothing.jsonl"), arguments=(option, self.folder / "nothing.jsonl"))
            self.refuse(1, "none-*.jsonl", arguments=(option, self.folder / "none-*.jsonl"))

    def test_ids_beyond_the_vocabulary(self):
        np.save(self.folder / "ids.npy", np.array([[1, 2, 2048]], np.int32))
        self.refuse(1, str(self.folder / "ids.npy"), "2048", arguments=self.data)

    def test_text_without_a_tokenizer(self):
        shutil.copytree(TINY / "weights", self.folder / "weights")
        weights = self.folder / "weights"
        task = self.task("own", "ppl", [{"texts": ["It was.", "It was not."], "gold": 0}])
        self.refuse(1, "tokenizer", arguments=("--data", TEXT), weights=weights)
        self.refuse(1, "tokenizer", arguments=("--tasks", task), weights=weights)
        ids = self.task("ids", "ppl", [{"ids": [[1, 5, 6], [1, 7]], "gold": 0}])
        run = self.evaluate("--tasks", ids, *self.data, "--scales", self.right_scales, weights=weights)
        self.assertEqual(run.code, 0, run.err)  # which take none
        run = self.evaluate("--tasks", task, "--tokenizer", TINY / "tokenizer/tokenizer.model", "--scales",
                            self.right_scales, weights=weights)
        self.assertEqual(run.code, 0, run.err)

    def test_weights_without_scales(self):
        run = self.evaluate(*self.data, "--output", self.output)
        self.assert_refused(run, 1, str(TINY / "weights"))
        self.assertFalse(self.output.exists())

    def test_statistics_of_another_model(self):
        from reference.models import random_model
        other = self.write(random_model(1, layers=4, vocab=2048, intermediate=768), 2, name="other")
        statistics = self.calibrate(other, self.windows(1), name="other-statistics") / "kv_stats.safetensors"
        run = self.evaluate(*self.data, "--stats", statistics, "--output", self.output)
        self.assert_refused(run, 1, str(statistics))
        self.assertFalse(self.output.exists())


if __name__ == "__main__":
    unittest.main()
