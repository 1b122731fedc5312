# SPDX-License-Identifier: Apache-2.0
"""Killed runs: config.ini never says int8 beside an incomplete or mixed set of scales, and ranks fall together."""

import os
import random
import re
import shutil
import signal
import subprocess
import time
import unittest
from pathlib import Path

from program import (TINY, ProgramTest, config_values, digests, scales, shape_options, start,
                     start_one_by_one)

KILLS = 40
FRESH_STARTS = 5  # how often at least the directory is made new, without scales


def children(pid: int) -> list[int]:
    """The processes whose parent is `pid`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text()
            except OSError:
                continue
            if int(status.rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.name))
    return sorted(found)


class KilledInPlaceRuns(ProgramTest):
    def arguments(self, weights: Path, data: Path) -> list:
        return ["calibrate", "--weights", weights, "--data", data, *shape_options(data), "--in-place", "--force",
                "--devices", "cpu", "--quiet"]

    def assert_whole(self, weights: Path, sets: dict[str, dict[str, bytes]], forced: str | None) -> str | None:
        """Which set is in force: None before the first. It never goes back to none."""
        policy = config_values(weights)["quant_policy"]
        if policy == "0":
            self.assertIsNone(forced, "the set that was in force no longer is")
            return None
        self.assertEqual(policy, "4")
        found = scales(weights)
        names = [name for name, expected in sets.items() if found == expected]
        self.assertEqual(len(names), 1, "the scale files are none of the complete sets")
        return names[0]

    def test_leave_one_complete_set_in_force(self):
        data = {name: self.windows(seed, count=2, length=64) for name, seed in (("one", 1), ("two", 2))}
        sets = {}
        for name, ids in data.items():
            weights = self.tiny(f"complete-{name}")
            began = time.monotonic()
            self.succeed(*self.arguments(weights, ids))
            duration = time.monotonic() - began
            sets[name] = scales(weights)
        self.assertEqual(len(sets["one"]), 8)
        self.assertNotEqual(sets["one"], sets["two"])
        clean = set(digests(self.folder / "complete-one/weights"))
        untouched = {name: digest for name, digest in digests(TINY / "weights").items() if name != "config.ini"}

        generator, killed, attempt = random.Random(20240403), 0, 0
        while killed < KILLS:
            self.assertLess(attempt, 4 * KILLS, f"only {killed} runs were still there to be killed")
            if attempt % (KILLS // FRESH_STARTS) == 0:
                weights, forced = self.tiny(f"victim-{attempt}"), None
            name = ("one", "two")[attempt % 2]
            # The files are changed near the end: half of the kills fall there.
            first = 0.0 if attempt % 4 < 2 else 0.75
            process, began = start(*self.arguments(weights, data[name])), time.monotonic()
            try:
                _, message = process.communicate(timeout=generator.uniform(first, 1.05) * duration)
                self.assertEqual(process.returncode, 0, message)
                duration = time.monotonic() - began
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                killed += process.returncode == -signal.SIGKILL
                # A run takes at least that long, the machine being as busy as it now is.
                duration = max(duration, time.monotonic() - began)
            before, forced = forced, self.assert_whole(weights, sets, forced)
            self.assertIn(forced, (before, name), f"attempt {attempt} put another set in force")
            now = digests(weights)
            self.assertEqual({key: now.get(key) for key in untouched}, untouched, "weights have changed")
            attempt += 1

        self.succeed(*self.arguments(weights, data["one"]))
        self.assertEqual(scales(weights), sets["one"])
        left = {entry.name for entry in weights.iterdir()}
        self.assertFalse([name for name in left if name.startswith(".")], "a killed run's folder is left")
        backups = {name for name in left if name.startswith("config.ini.")}
        self.assertEqual(left - backups, clean - {name for name in clean if name.startswith("config.ini.")})
        self.assertFalse([entry for entry in weights.iterdir() if entry.is_symlink()])
        self.succeed("verify", weights)

    def test_do_not_keep_a_later_run_waiting(self):
        """The lock of a killed run dies with it."""
        weights, ids = self.tiny(), self.windows()
        process = start(*self.arguments(weights, ids))
        time.sleep(0.2)
        process.kill()
        process.communicate()
        self.succeed(*self.arguments(weights, ids), timeout=60)

    def test_into_an_output_directory_leave_it_whole_or_absent(self):
        ids, output = self.windows(count=2, length=64), self.folder / "output"
        arguments = ["calibrate", "--weights", TINY / "weights", "--data", ids, *shape_options(ids), "--devices", "cpu",
                     "--quiet", "--output", output]
        began = time.monotonic()
        self.succeed(*arguments)
        duration, expected = time.monotonic() - began, scales(output)
        generator = random.Random(7)
        for _ in range(10):
            for file in output.glob("*"):
                file.unlink()
            if output.exists():
                output.rmdir()
            process = start(*arguments)
            time.sleep(generator.uniform(0.5, 1.0) * duration)
            process.kill()
            process.communicate()
            if output.exists():
                self.assertEqual(scales(output), expected)
                self.assertTrue((output / "summary.json").exists())
        self.succeed(*arguments, "--force")
        self.assertEqual({entry.name for entry in self.folder.iterdir()}, {"output", ids.name}, "something is left")


class KilledRanks(ProgramTest):
    def run_and_strike(self, weights: Path, place: list, which: int,
                       number: signal.Signals = signal.SIGKILL) -> tuple[int, str, str, float]:
        """Signals the rank of that index while layers are computed: exit code, stdout, stderr, seconds it took to end."""
        ids = self.windows(3, count=96, length=1024)
        process = start("calibrate", "--weights", weights, "--data", ids, *shape_options(ids), "--devices",
                        "cpu:2", *place)
        self.addCleanup(process.kill)
        ranks, deadline = [], time.monotonic() + 60
        while len(ranks) < 2 and time.monotonic() < deadline and process.poll() is None:
            ranks = children(process.pid)
            time.sleep(0.01)
        self.assertEqual(len(ranks), 2, "one process per rank")
        time.sleep(1.5)
        self.assertIsNone(process.poll(), "the run ended too soon for this test")
        os.kill(ranks[which], number)
        began = time.monotonic()
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err, time.monotonic() - began

    def test_end_the_run_with_their_name_and_without_a_file(self):
        for which in (0, 1):
            for place in (["--output", self.folder / "output"], ["--in-place"]):
                with self.subTest(which=which, place=place[0]):
                    weights = self.tiny(f"workspace-{which}-{len(place)}")
                    before = digests(weights)
                    code, out, err, seconds = self.run_and_strike(weights, place, which)
                    self.assertEqual(code, 1, err)
                    self.assertLess(seconds, 10)
                    self.assertRegex(err, re.compile(rf"rank {which}\b"))
                    self.assertEqual(out, "")
                    self.assertFalse((self.folder / "output").exists())
                    # A rank that is stopped may leave its working folder for the next run to clear, nothing else.
                    after = {name: digest for name, digest in digests(weights).items() if name[0] != "."}
                    self.assertEqual(after, before)
                    shutil.rmtree(weights.parent)

    def test_that_are_stopped_end_the_run(self):
        output = self.folder / "output"
        code, out, err, _ = self.run_and_strike(TINY / "weights", ["--output", output], 1, signal.SIGSTOP)
        self.assertEqual((code, out), (1, ""), err)
        self.assertIn("rank 1 has not been heard of", err)
        self.assertFalse(output.exists())

    def test_end_the_others_when_nobody_watches_over_them(self):
        """Ranks that are started one by one must notice by themselves."""
        ids = self.windows(5, count=96, length=1024)
        for which, words in ((0, "rank 0"), (1, "rank 1 has not been heard of")):
            with self.subTest(which=which):
                ranks = start_one_by_one(2, "calibrate", "--weights", TINY / "weights", "--data", ids,
                                         *shape_options(ids), "--devices", "cpu", "--output", self.folder / "output")
                for rank in ranks:
                    self.addCleanup(rank.kill)
                self.await_first_layer(ranks[0])
                ranks[which].kill()
                began = time.monotonic()
                out, err = ranks[1 - which].communicate(timeout=60)
                self.assertLess(time.monotonic() - began, 20)  # ten on a machine that does nothing else
                ranks[which].communicate()
                self.assertEqual((ranks[1 - which].returncode, out), (1, ""), err)
                self.assertIn(f"rank {1 - which}: error: ", err)
                self.assertIn(words, err)
                self.assertFalse((self.folder / "output").exists())
                if which == 1:
                    self.assertEqual([entry.name for entry in self.folder.iterdir()], [ids.name], "something is left")

    def await_first_layer(self, process):
        """Reads the progress of a rank until it computes."""
        while line := process.stderr.readline():
            if line.startswith("layer 1 "):
                return
        self.fail("the run ended before its first layer")

    def test_all_end_when_the_launcher_is_killed(self):
        ids = self.windows(4, count=96, length=1024)
        process = start("calibrate", "--weights", TINY / "weights", "--data", ids, *shape_options(ids), "--devices",
                        "cpu:2", "--output", self.folder / "output")
        ranks, deadline = [], time.monotonic() + 60
        while len(ranks) < 2 and time.monotonic() < deadline and process.poll() is None:
            ranks = children(process.pid)
            time.sleep(0.01)
        self.assertEqual(len(ranks), 2)
        process.kill()
        process.communicate()
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{rank}/exe").exists() for rank in ranks) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertFalse([rank for rank in ranks if Path(f"/proc/{rank}/exe").exists()], "ranks live on")
        self.assertFalse((self.folder / "output").exists())


if __name__ == "__main__":
    unittest.main()
