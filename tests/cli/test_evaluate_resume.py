# SPDX-License-Identifier: Apache-2.0
"""Runs of `kvcalib evaluate` that are killed: what they leave, and how the next one goes on."""

import os
import re
import signal
import subprocess
import time
import unittest
from pathlib import Path

import numpy as np

from evaluation import EvaluationTest, own_ids, report_bytes
from program import TINY, start

GROUPS = 12


class Resume(EvaluationTest):
    """Texts of 128 tokens, a reading of the weights for each three."""

    SECONDS = 120

    def setUp(self):
        super().setUp()
        np.save(self.folder / "ids.npy", np.tile(own_ids(12, 128), (3, 1)))
        self.arguments = ["--data", self.folder / "ids.npy", "--group", 400]
        self.place = self.folder / "place"
        self.place.mkdir()
        self.output, self.kept = self.place / "report", self.place / ".report.kvcalib-groups"

    def run_on(self, *more, scales: Path | None = None, **options):
        return self.evaluate(*self.arguments, "--scales", scales or self.right_scales, "--output", self.output, *more,
                             **options)

    def uninterrupted(self) -> dict[str, bytes]:
        return report_bytes(self.report(*self.arguments, "--scales", self.right_scales, name="uninterrupted"))

    def groups(self) -> list[str]:
        names = os.listdir(self.kept) if self.kept.exists() else []
        return sorted((name for name in names if re.fullmatch(r"\d+-\d+", name)), key=lambda name: int(name.split("-")[0]))

    def strike(self, number: int, groups: int = 1, devices: str = "cpu") -> subprocess.Popen:
        """A run that is sent a signal once it has kept so many groups."""
        process = start("evaluate", "--weights", TINY / "weights", "--devices", devices, *self.arguments, "--scales",
                        self.right_scales, "--output", self.output)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        end = time.monotonic() + self.SECONDS
        while len(self.groups()) < groups:
            self.assertIsNone(process.poll(), "the run ended before it could be told to")
            self.assertLess(time.monotonic(), end, "no group is kept")
            time.sleep(0.002)
        process.send_signal(number)
        out, self.message = process.communicate(timeout=self.SECONDS)
        self.assertEqual((process.returncode, out), (-number, ""), self.message)
        self.assertFalse(self.output.exists())
        return process

    def readings(self, message: str) -> tuple[int, int]:
        """How many readings of the weights a run said that it makes, and how many groups it has of an earlier one."""
        found = re.search(r"(\d+) readings? of the weights(?: beside (\d+) kept)?", message)
        self.assertTrue(found, message)
        return int(found[1]), int(found[2] or 0)

    def resumed(self, *more, devices: str = "cpu") -> str:
        process = start("evaluate", "--weights", TINY / "weights", "--devices", devices, *self.arguments, "--scales",
                        self.right_scales, "--output", self.output, *more)
        _, message = process.communicate(timeout=self.SECONDS)
        self.assertEqual(process.returncode, 0, message)
        self.assertEqual(sorted(entry.name for entry in self.place.iterdir()), ["report"])
        return message

    def test_goes_on_behind_the_last_group(self):
        expected = self.uninterrupted()
        self.strike(signal.SIGKILL, groups=3)
        kept = self.groups()
        self.assertEqual(kept[0][:2], "0-")
        self.assertLess(len(kept), GROUPS)
        message = self.resumed("--resume")
        left, taken = self.readings(message)
        self.assertEqual(taken, len(kept))
        self.assertEqual(report_bytes(self.output), expected)
        self.output.rename(self.folder / "first")
        self.assertEqual(self.readings(self.resumed()), (left + taken, 0))

    def test_is_killed_again_and_again(self):
        expected = self.uninterrupted()
        self.strike(signal.SIGKILL, groups=2)
        self.arguments += ["--resume"]
        self.strike(signal.SIGKILL, groups=len(self.groups()) + 2)
        self.assertGreaterEqual(len(self.groups()), 4)
        self.assertGreaterEqual(self.readings(self.resumed())[1], 4)
        self.assertEqual(report_bytes(self.output), expected)

    def test_with_other_ranks_and_groups(self):
        """What is kept holds whatever the ranks, micro-batches and the sizes of the groups to come."""
        expected = self.uninterrupted()
        self.strike(signal.SIGKILL, groups=2, devices="cpu:2")
        kept = len(self.groups())
        self.arguments[-1] = 900
        self.assertEqual(self.readings(self.resumed("--resume", "--micro-batch", 200))[1], kept)
        self.assertEqual(report_bytes(self.output), expected)

    def test_is_refused_for_another_evaluation(self):
        self.strike(signal.SIGKILL)
        kept = {file.name: file.read_bytes() for file in self.kept.iterdir()}
        other = self.spoilt(lambda scales: scales.__imul__(2))
        for run in (self.run_on("--resume", scales=other), self.run_on("--resume", "--formats", "per-token"),
                    self.run_on("--resume", "--limit", 20), self.run_on("--resume", "--runtime", "0.2.0")):
            self.assert_refused(run, 1, str(self.kept / self.groups()[0]), "was kept of another evaluation",
                                "run without --resume")
            self.assertFalse(self.output.exists())
            self.assertEqual({file.name: file.read_bytes() for file in self.kept.iterdir()}, kept)
        self.assertEqual(self.readings(self.resumed("--resume"))[1], len(kept))

    def test_without_resume_begins_anew(self):
        self.strike(signal.SIGKILL)
        self.assertEqual(self.readings(self.resumed())[1], 0)
        self.assertEqual(report_bytes(self.output), self.uninterrupted())

    def test_with_nothing_kept(self):
        self.assertEqual(self.readings(self.resumed("--resume"))[1], 0)

    def test_refuses_a_damaged_group(self):
        self.strike(signal.SIGKILL)
        file = self.kept / self.groups()[0]
        whole = file.read_bytes()
        spoilt = bytearray(whole)
        spoilt[-20] ^= 1
        for damaged in (bytes(spoilt), whole[:-1], whole[:100], b"", whole + b"\0"):
            file.write_bytes(damaged)
            self.assert_refused(self.run_on("--resume"), 1, str(file))
            self.assertFalse(self.output.exists())
        file.write_bytes(whole)
        self.resumed("--resume")

    def test_what_a_signal_takes_back(self):
        """A run that is told to end keeps its groups, and nothing of its report."""
        expected = self.uninterrupted()
        self.strike(signal.SIGTERM, groups=2)
        self.assertIn("stopped by signal 15", self.message)
        self.assertEqual([entry.name for entry in self.place.iterdir()], [self.kept.name])
        kept = len(self.groups())
        self.assertEqual(self.readings(self.resumed("--resume"))[1], kept)
        self.assertEqual(report_bytes(self.output), expected)

    def test_keeps_an_earlier_report(self):
        self.resumed()
        before = report_bytes(self.output)
        process = start("evaluate", "--weights", TINY / "weights", "--devices", "cpu", *self.arguments, "--scales",
                        self.spoilt(lambda scales: scales.__imul__(2)), "--output", self.output, "--force")
        self.addCleanup(process.kill)
        while not self.groups():
            self.assertIsNone(process.poll(), "the run ended before it could be killed")
            time.sleep(0.002)
        process.kill()
        process.communicate()
        self.assertEqual(report_bytes(self.output), before)


if __name__ == "__main__":
    unittest.main()
