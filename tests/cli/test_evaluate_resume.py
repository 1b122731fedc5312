# SPDX-License-Identifier: Apache-2.0
"""Runs of `kvcalib evaluate` that are killed: what they leave, and how the next one goes on."""

import json
import os
import re
import signal
import unittest
from collections.abc import Callable
from pathlib import Path

import numpy as np

from evaluation import EvaluationTest, own_ids, own_text, report_bytes
from program import TINY, Run, kvcalib, start_stepped, stops

GROUPS = 8
STRIDE = 9  # changes on the disk from one kill to the next


class ResumeTest(EvaluationTest):
    """Windows of 48 tokens, a reading of the weights for each two, and more of a class's own."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        test = cls()
        test.folder = cls.right_scales.parent
        cls.ids = test.folder / "ids.npy"
        np.save(cls.ids, own_ids(2 * GROUPS, 48))
        cls.tasks = test.more_tasks()
        cls.expected = report_bytes(test.report(*cls.scored(), "--scales", cls.right_scales))

    def more_tasks(self) -> list[Path]:
        return []

    @classmethod
    def scored(cls) -> list:
        return ["--data", cls.ids, *(part for task in cls.tasks for part in ("--tasks", task))]

    def setUp(self):
        super().setUp()
        self.place = self.folder / "place"
        self.place.mkdir()
        self.output, self.kept = self.place / "report", self.place / ".report.kvcalib-groups"

    def arguments(self, *more, group: int = 100, scales: Path | None = None, devices: str = "cpu") -> list:
        return ["evaluate", "--weights", TINY / "weights", "--devices", devices, *self.scored(), "--group", group,
                "--scales", scales or self.right_scales, "--output", self.output, *more]

    def groups(self) -> list[str]:
        """What is kept whole, in its order."""
        names = os.listdir(self.kept) if self.kept.exists() else []
        return sorted(filter(re.compile(r"\d+-\d+").fullmatch, names), key=lambda name: int(name.split("-")[0]))

    def strike(self, number: int, at: Callable[[int], bool], *more, **options) -> str:
        """A run that is sent a signal before the first change below its place at which `at`, which is given the
        change's number, holds. Returns what it said."""
        process, struck = start_stepped(self.place, *self.arguments(*more, **options)), False
        for step in stops(process):
            if not struck and at(step):
                process.send_signal(number)
                struck = True
        out, err = process.communicate()
        self.assertTrue(struck, "the run ended before it could be told to")
        self.assertEqual((process.returncode, out), (-number, ""), err)
        return err

    def kill(self, groups: int = 2, *more, **options) -> int:
        """A run that is killed when so many groups are kept. Returns how many are."""
        self.strike(signal.SIGKILL, lambda _: len(self.groups()) >= groups, *more, **options)
        self.assertFalse(self.output.exists())
        self.assertEqual(len(self.groups()), groups)
        return groups

    def readings(self, run: Run) -> tuple[int, int]:
        """How often a run said that it reads the weights, and how many groups it has of an earlier one."""
        found = re.search(r"(\d+) readings? of the weights(?: beside (\d+) kept)?", run.err)
        self.assertTrue(found, run.err)
        return int(found[1]), int(found[2] or 0)

    def finish(self, *more, **options) -> tuple[int, int]:
        """A run to the end, which must leave the report and nothing else."""
        run = kvcalib(*self.arguments(*more, **options))
        self.assertEqual(run.code, 0, run.err)
        self.assertEqual([entry.name for entry in self.place.iterdir()], ["report"])
        self.assertEqual(report_bytes(self.output), self.expected)
        return self.readings(run)


class Resume(ResumeTest):
    def test_goes_on_behind_the_last_group(self):
        whole = self.finish()[0]
        self.assertGreater(whole, GROUPS)  # the control is in one of them
        self.output.rename(self.folder / "first")
        kept = self.kill(3)
        self.assertTrue(self.groups()[0].startswith("0-"))
        self.assertEqual(self.finish("--resume"), (whole - kept, kept))

    def test_is_killed_again_and_again(self):
        self.kill(2)
        self.kill(4, "--resume")
        self.kill(5, "--resume")
        self.assertEqual(self.finish("--resume")[1], 5)

    def test_weights_that_have_changed_are_other_weights(self):
        """Also where no fingerprint of samples would see it."""
        weights = self.tiny()
        arguments = ["evaluate", "--weights", weights, "--devices", "cpu", "--data", self.ids, "--group", 100, "--scales",
                     self.right_scales, "--output", self.output]
        process = start_stepped(self.place, *arguments)
        for _ in stops(process):
            if len(self.groups()) >= 2:
                process.kill()
        process.communicate()
        config = (weights / "config.ini").read_text()
        for file, content in (("config.ini", config.replace("norm_eps = 1e-05", "norm_eps = 1e-03").encode()),
                              ("norm.weight", self.flipped(weights / "norm.weight"))):
            kept = (weights / file).read_bytes()
            self.assertNotEqual(content, kept)
            (weights / file).write_bytes(content)
            run = kvcalib(*arguments, "--resume")
            self.assertEqual(run.code, 1, run.err)
            self.assertIn("other weights", run.err)
            (weights / file).write_bytes(kept)
        self.assertEqual(len(self.groups()), 2)

    def flipped(self, file: Path) -> bytes:
        content = bytearray(file.read_bytes())
        content[100] ^= 0x04
        return bytes(content)

    def test_is_killed_anywhere(self):
        """Before one in so many changes on the disk: the report is whole or not there, and a later run completes it."""
        step, unfinished = 1, 0
        while True:
            try:
                self.strike(signal.SIGKILL, lambda number: number == step, "--quiet")
            except AssertionError:
                self.assertEqual(report_bytes(self.output), self.expected)
                break
            if self.output.exists():
                self.assertEqual(report_bytes(self.output), self.expected)
                run = kvcalib(*self.arguments("--resume", "--force"))
            else:
                unfinished += 1
                run = kvcalib(*self.arguments("--resume"))
            self.assertEqual(run.code, 0, run.err)
            self.assertEqual(report_bytes(self.output), self.expected)
            self.assertEqual([entry.name for entry in self.place.iterdir()], ["report"])
            self.output.rename(self.folder / f"of-{step}")
            step += STRIDE
        self.assertGreater(unfinished, 3)

    def test_with_other_ranks_and_groups(self):
        kept = self.kill(2)
        left = self.finish("--resume", "--micro-batch", 60, group=200, devices="cpu:2")
        self.assertEqual(left[1], kept)
        self.assertLess(left[0], GROUPS - kept)

    def test_is_refused_for_another_evaluation(self):
        kept = self.kill(2)
        before = {file.name: file.read_bytes() for file in self.kept.iterdir()}
        for run in (kvcalib(*self.arguments("--resume", scales=self.spoilt(lambda scales: scales.__imul__(2)))),
                    kvcalib(*self.arguments("--resume", "--limit", 12)),
                    kvcalib(*self.arguments("--resume", "--runtime", "0.2.0"))):
            self.assert_refused(run, 1, str(self.kept / self.groups()[0]), "was kept of another evaluation",
                                "run without --resume")
            self.assertFalse(self.output.exists())
            self.assertEqual({file.name: file.read_bytes() for file in self.kept.iterdir()}, before)
        self.assertEqual(self.finish("--resume")[1], kept)

    def test_without_resume_begins_anew(self):
        self.kill(2)
        self.assertEqual(self.finish()[1], 0)

    def test_with_nothing_kept(self):
        self.assertEqual(self.finish("--resume")[1], 0)

    def test_refuses_a_damaged_group(self):
        kept = self.kill(2)
        file = self.kept / self.groups()[1]
        whole = file.read_bytes()
        spoilt = bytearray(whole)
        spoilt[-20] ^= 1
        for damaged in (bytes(spoilt), whole[:100], whole + b"\0"):
            file.write_bytes(damaged)
            self.assert_refused(kvcalib(*self.arguments("--resume")), 1, str(file))
            self.assertFalse(self.output.exists())
        file.write_bytes(whole)
        self.assertEqual(self.finish("--resume")[1], kept)

    def test_a_gap_is_computed_again(self):
        self.kill(3)
        (self.kept / self.groups()[1]).unlink()
        self.assertEqual(self.finish("--resume")[1], 1)

    def test_what_a_signal_takes_back(self):
        """A run that is told to end keeps its groups, and nothing of its report."""
        for number, groups, more in ((signal.SIGTERM, 2, ()), (signal.SIGINT, 4, ("--resume",))):
            message = self.strike(number, lambda _: len(self.groups()) >= groups, "--quiet", *more)
            self.assertIn(f"stopped by signal {int(number)}", message)
            self.assertEqual([entry.name for entry in self.place.iterdir()], [self.kept.name])
        kept = len(self.groups())
        self.assertGreaterEqual(kept, 4)
        self.assertEqual(self.finish("--resume")[1], kept)

    def test_keeps_an_earlier_report(self):
        self.finish()
        other = self.spoilt(lambda scales: scales.__imul__(2))
        self.strike(signal.SIGKILL, lambda _: len(self.groups()) >= 2, "--force", scales=other)
        self.assertEqual(report_bytes(self.output), self.expected)
        self.finish("--force")


class ResumeAnswers(ResumeTest):
    """Three tasks whose answers are generated behind the windows, one of them shorter than there are ranks: rows of a
    report that has another."""

    def more_tasks(self) -> list[Path]:
        return [self.task(name, "gen", [{"prompt": own_text(number)[:30 + 9 * number], "answers": ["the"]}
                                        for number in range(prompts)], extract="contains", max_new_tokens=6)
                for name, prompts in (("first", 3), ("second", 1), ("third", 3))]

    @classmethod
    def scored(cls) -> list:
        rows = [{"task": name, "dataset": "own", "file": f"{name}.jsonl"} for name in ("first", "none", "second", "third")]
        folder = cls.tasks[0].parent
        (folder / "list.json").write_text(json.dumps({"format": "kvcalib-report", "version": 1, "rows": rows}))
        return ["--data", cls.ids, "--tasks", folder / "list.json", "--data-root", folder]

    def answers(self) -> list[str]:
        """What is kept whole, by its tasks."""
        names = os.listdir(self.kept) if self.kept.exists() else []
        return sorted(filter(re.compile(r"answers-\d+").fullmatch, names))

    def kill_behind(self, tasks: int, *more, **options) -> int:
        """A run that is killed when so many tasks are answered. Returns how many groups are kept."""
        self.strike(signal.SIGKILL, lambda _: len(self.answers()) >= tasks, *more, **options)
        self.assertFalse(self.output.exists())
        self.assertEqual(self.answers(), [f"answers-{task}" for task in range(tasks)])
        return len(self.groups())

    def prompts(self, run: Run) -> tuple[int, int]:
        """Of how many prompts a run said that it generates answers, and how many tasks it has of an earlier one."""
        found = re.search(r"answers of (\d+) prompts under 2 caches(?: beside (\d+) tasks kept)?", run.err)
        self.assertTrue(found, run.err)
        return int(found[1]), int(found[2] or 0)

    def goes_on(self, *more, **options) -> Run:
        """A run to the end, with the same bytes as one that was never killed."""
        run = kvcalib(*self.arguments("--resume", *more, **options))
        self.assertEqual(run.code, 0, run.err)
        self.assertEqual([entry.name for entry in self.place.iterdir()], ["report"])
        self.assertEqual(report_bytes(self.output), self.expected)
        return run

    def test_goes_on_behind_the_last_task(self):
        groups = self.kill_behind(1)
        self.assertGreater(groups, GROUPS)
        run = self.goes_on()
        self.assertEqual(self.readings(run), (0, groups))
        self.assertEqual(self.prompts(run), (4, 1))

    def test_is_killed_again_with_other_ranks(self):
        groups = self.kill_behind(1)
        self.kill_behind(2, "--resume")
        run = self.goes_on("--micro-batch", 60, group=200, devices="cpu:3")
        self.assertEqual(self.readings(run), (0, groups))
        self.assertEqual(self.prompts(run), (3, 2))

    def test_is_killed_before_any_task_is_answered(self):
        self.kill(3)
        run = self.goes_on(devices="cpu:2")
        self.assertEqual(self.readings(run)[1], 3)
        self.assertEqual(self.prompts(run), (7, 0))

    def test_refuses_damaged_answers(self):
        self.kill_behind(2)
        file = self.kept / "answers-1"
        whole = file.read_bytes()
        spoilt = bytearray(whole)
        spoilt[-3] ^= 1
        for damaged in (bytes(spoilt), whole[:100], whole + b"\0", (self.kept / "answers-0").read_bytes()):
            file.write_bytes(damaged)
            self.assert_refused(kvcalib(*self.arguments("--resume")), 1, str(file), "is damaged")
            self.assertFalse(self.output.exists())
        file.unlink()  # which is generated again
        self.assertEqual(self.prompts(self.goes_on()), (4, 1))

    def test_is_refused_for_other_answers(self):
        self.kill_behind(1)
        whole = self.tasks[2].read_bytes()
        self.addCleanup(self.tasks[2].write_bytes, whole)
        self.tasks[2].write_bytes(whole.replace(b'"max_new_tokens": 6', b'"max_new_tokens": 7'))
        self.assert_refused(kvcalib(*self.arguments("--resume")), 1, str(self.kept), "was kept of another evaluation")
        self.tasks[2].write_bytes(whole)
        self.goes_on()

    def test_without_resume_begins_anew(self):
        groups = self.kill_behind(2)
        run = kvcalib(*self.arguments())
        self.assertEqual(run.code, 0, run.err)
        self.assertIn(f"{groups + 2} finished parts of an earlier run were dropped", run.err)
        self.assertEqual(self.prompts(run), (7, 0))
        self.assertEqual(report_bytes(self.output), self.expected)


if __name__ == "__main__":
    unittest.main()
