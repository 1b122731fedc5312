# SPDX-License-Identifier: Apache-2.0
"""The row passkey: a number hidden in filler, which scripts/make_tasks.py makes of nothing, and which is scored."""

import hashlib
import json
import re
import subprocess
import sys
import unittest
from collections import Counter
from pathlib import Path

from evaluation import EvaluationTest, read_report, tokenizer_of
from program import ROOT, SHARED, environment, kvcalib
from task_maker import SCRIPT

REPEATS, DEPTHS = (4, 16, 32, 68, 128), (0, 25, 50, 75, 100)
EACH, CANDIDATES = 4, 10
BEGIN_TOKENS, END_TOKENS = 100, 1900  # of Llama's tokenizer, nearly
# Of the file, so that results of different days are of the same items.
DIGEST = "10333735d9e64938461699bbe5ec25f98a5a4f6e366644dba788c5d60974461d"
FILLER = json.loads((ROOT / "configs/tasks/passkey.json").read_text(encoding="utf-8"))["filler"]
LLAMA = SHARED / "models/llama-96m"


class Passkey(EvaluationTest):
    def made(self, *arguments) -> Path:
        output = self.folder / "tasks"
        subprocess.run([sys.executable, SCRIPT, "--task", "passkey", "--output", output, "--force", *arguments],
                       check=True, capture_output=True, env=environment())
        return output / "passkey.jsonl"

    def items(self) -> list[dict]:
        return [json.loads(line) for line in self.made().read_text(encoding="utf-8").splitlines()[1:]]

    def test_is_the_same_file_whenever_it_is_made(self):
        self.assertEqual(hashlib.sha256(self.made().read_bytes()).hexdigest(), DIGEST)
        self.assertEqual(len(self.made("--limit", "7").read_text(encoding="utf-8").splitlines()), 8)

    def test_hides_the_right_number_where_it_says(self):
        items = self.items()
        self.assertEqual(len({item["id"] for item in items}), len(REPEATS) * len(DEPTHS) * EACH)
        for item in items:
            repeats, depth = map(int, re.fullmatch(r"filler x (\d+), depth (\d+) %", item["group"]).groups())
            self.assertTrue(item["id"].startswith(item["group"]))
            prompts = {text[:begin] for text, begin in zip(item["texts"], item["from"])}
            numbers = [text[begin:] for text, begin in zip(item["texts"], item["from"])]
            prompt, = prompts
            self.assertEqual(len(set(numbers)), CANDIDATES)
            for number in numbers:
                self.assertRegex(number, r"\A [1-9]\d{4}\Z")
            right = numbers[item["gold"]].strip()
            self.assertEqual([prompt.count(number.strip()) > 0 for number in numbers],
                             [number.strip() == right for number in numbers])
            self.assertEqual(prompt.count(FILLER), repeats)
            self.assertEqual(prompt.partition(right)[0].count(FILLER), repeats * depth // 100)

    def test_has_every_length_depth_and_place_alike(self):
        items = self.items()
        self.assertEqual(Counter(item["gold"] for item in items),
                         dict.fromkeys(range(CANDIDATES), len(items) // CANDIDATES))
        self.assertEqual(Counter(item["group"] for item in items),
                         {f"filler x {repeats}, depth {depth} %": EACH for repeats in REPEATS for depth in DEPTHS})

    def test_is_as_long_as_a_model_of_2048_tokens_takes(self):
        if not LLAMA.exists():
            self.skipTest(f"{LLAMA} is not there")
        tokenizer = tokenizer_of(LLAMA)
        lengths = [len(tokenizer.encode(item["texts"][0])) + 1 for item in self.items()]
        self.assertEqual(lengths, sorted(lengths))
        self.assertLess(abs(lengths[0] - BEGIN_TOKENS), 50)
        self.assertLess(abs(lengths[-1] - END_TOKENS), 50)

    def test_is_scored(self):
        """The embedded model is too small to find it."""
        run = self.evaluate("--tasks", self.made(), "--scales", self.right_scales, "--limit", 2 * EACH * len(DEPTHS),
                            "--output", self.folder / "report")
        self.assertEqual(run.code, 0, run.err)
        task, = read_report(self.folder / "report")["tasks"]
        self.assertEqual((task["task"], task["n"], task["clusters"]), ("passkey", 40, 10))
        self.assertEqual(task["baseline"], 10)
        self.assertIn("at chance", run.out)

    def test_is_found_by_a_model_that_can(self):
        if not LLAMA.exists():
            self.skipTest(f"{LLAMA} is not there")
        scales = self.calibrate(LLAMA, ROOT / "configs/tiny-4m/text.jsonl", "--samples", 4, "--length", 256)
        run = kvcalib("evaluate", "--weights", LLAMA, "--devices", "cpu", "--quiet", "--scales", scales, "--tasks",
                      self.made(), "--limit", EACH * len(DEPTHS), "--output", self.folder / "report")
        self.assertEqual(run.code, 0, run.err)
        task, = read_report(self.folder / "report")["tasks"]
        self.assertGreater(task["streams"][0]["score"], 50)


if __name__ == "__main__":
    unittest.main()
