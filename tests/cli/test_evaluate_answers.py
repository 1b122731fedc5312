# SPDX-License-Identifier: Apache-2.0
"""Answers that `kvcalib evaluate` generates: token by token those of a plain forward pass, whatever is beside them."""

import shutil
import unittest
from pathlib import Path

from evaluation import EvaluationTest, named, own_text, read_items, read_report, report_bytes, tokenizer_of
from program import PROGRAM, TINY, run_program
from reference.evaluate import Cache, from_directory, read_scales
from reference.generate import greedy

NEW = 20
NEAR = 1e-3  # logits that fp32 in another order may exchange


class Answers(EvaluationTest):
    def prompts(self, count: int = 6) -> list[str]:
        return [own_text(number)[:40 + 37 * number] for number in range(count)]

    def questions(self, *more: str, rule: str = "contains", new: int = NEW, **header):
        items = [{"prompt": prompt, "answers": ["the"]} for prompt in (*self.prompts(), *more)]
        return self.task("own", "gen", items, extract=rule, max_new_tokens=new, **header)

    def answers(self, *arguments, name: str = "report", **options) -> list[dict]:
        return read_items(self.report("--tasks", self.questions(), "--scales", self.right_scales, *arguments, name=name,
                                      **options))

    def assert_follows(self, steps, text: str):
        """The text of an answer is what the steps write, as far as it goes, or parts from it between equal logits."""
        tokenizer = tokenizer_of(TINY)
        for count in range(len(steps) + 1):
            written = tokenizer.decode([step.token for step in steps[:count]])
            if written == text:
                return
            if count < len(steps) and steps[count].gap < NEAR:
                self.skipTest("two tokens are equally likely")
        self.fail(f"{text!r} is not written by {[step.token for step in steps]}")

    def test_are_those_of_a_plain_forward_pass(self):
        decoder, tokenizer = from_directory(TINY / "weights"), tokenizer_of(TINY)
        scales = read_scales(self.right_scales, decoder.config.layers)
        for runtime, newest_is_exact in (("0.3.0", False), ("0.2.6", True)):
            items = self.answers("--runtime", runtime, name=runtime)
            self.assertEqual(len(items), 6)
            for prompt, item in zip(self.prompts(), items):
                ids = [1] + tokenizer.encode(prompt)
                for stream, cache in (("fp16", Cache()), ("int8", Cache(scales=scales))):
                    with self.subTest(runtime=runtime, item=item["id"], stream=stream):
                        steps = greedy(decoder, ids, NEW, cache, newest_is_exact and stream == "int8", runtime)
                        self.assert_follows(steps, item["answers"][stream]["text"])

    def test_do_not_depend_on_what_is_beside_them(self):
        expected = self.answers(name="expected")
        for name, more in (("ranks", {"devices": "cpu:2"}), ("three", {"devices": "cpu:3"})):
            self.answers(name=name, **more)
            self.assertEqual(report_bytes(self.folder / name), report_bytes(self.folder / "expected"))
        self.answers("--micro-batch", 64, name="small")
        self.assertEqual(report_bytes(self.folder / "small"), report_bytes(self.folder / "expected"))
        alone = self.task("own", "gen", [{"prompt": self.prompts()[3], "answers": ["the"]}], extract="contains",
                          max_new_tokens=NEW)
        item, = read_items(self.report("--tasks", alone, "--scales", self.right_scales, name="alone"))
        self.assertEqual(item["answers"], expected[3]["answers"])

    def run_with_memory(self, megabytes: int, *command):
        """A program on a machine of which so much is free, as it sees it."""
        facts = self.folder / "meminfo"
        lines = Path("/proc/meminfo").read_text().splitlines()
        facts.write_text("".join(f"MemAvailable: {megabytes * 1024} kB\n" if line.startswith("MemAvailable:")
                                 else line + "\n" for line in lines))
        shell = 'mount --bind "$1" /proc/meminfo && shift && exec "$@"'
        return run_program("unshare", "-m", "sh", "-c", shell, "sh", facts, *command)

    def test_are_the_same_where_layers_are_divided_among_ranks(self):
        if not shutil.which("unshare") or self.run_with_memory(500, "true").code != 0:
            self.skipTest("a process here cannot be given another /proc/meminfo")
        self.answers(name="expected")
        arguments = ("--weights", TINY / "weights", "--tasks", self.questions(), "--scales", self.right_scales,
                     "--devices", "cpu:4", "--output", self.folder / "divided", "--force")
        for megabytes in range(600, 440, -20):
            run = self.run_with_memory(megabytes, PROGRAM, "evaluate", *arguments)
            self.assertEqual(run.code, 0, run.err)
            if "the layers are divided among the ranks" in run.err:
                break
        else:
            self.fail("the weights were never divided")
        self.assertEqual(report_bytes(self.folder / "divided"), report_bytes(self.folder / "expected"))

    def test_stop_where_nothing_can_change(self):
        """A text that is settled is a beginning of the one that is not, and is read alike."""
        free = self.answers(name="free")
        words = read_items(self.report("--tasks", self.questions(rule="first-word"), "--scales", self.right_scales,
                                       name="words"))
        for whole, short in zip(free, words):
            for stream in ("fp16", "int8"):
                self.assertLessEqual(short["answers"][stream]["tokens"], whole["answers"][stream]["tokens"])
                self.assertTrue(whole["answers"][stream]["text"].startswith(short["answers"][stream]["text"]))
        self.assertLess(sum(item["answers"]["fp16"]["tokens"] for item in words),
                        sum(item["answers"]["fp16"]["tokens"] for item in free))

    def test_are_scored_beside_other_tasks(self):
        choice = self.task("choice", "ppl", [{"texts": ["It was.", "It was not."], "gold": 0}])
        long = own_text(0) * 20
        output = self.report("--tasks", choice, "--tasks", self.questions(long), "--scales", self.right_scales,
                             "--max-loss", "own=100")
        choice, own = read_report(output)["tasks"]
        self.assertEqual((choice["task"], own["task"], own["n"]), ("choice", "own", 7))
        self.assertTrue(0 <= named(own["streams"], "int8")["equal"] <= 100)
        self.assertIn("too long for the model", (output / "evaluation.md").read_text(encoding="utf-8"))

    def test_need_a_tokenizer_that_writes_text(self):
        ids = self.task("ids", "gen", [{"ids": [1, 5, 6], "answers": ["the"]}], extract="em", max_new_tokens=4)
        weights = self.folder / "weights"
        shutil.copytree(TINY / "weights", weights)
        run = self.evaluate("--tasks", ids, "--scales", self.right_scales, weights=weights)
        self.assert_refused(run, 1, "--tokenizer")
        run = self.evaluate("--tasks", ids, "--scales", self.right_scales, "--tokenizer",
                            TINY / "tokenizer/tokenizer.model", weights=weights)
        self.assertEqual(run.code, 0, run.err)


if __name__ == "__main__":
    unittest.main()
